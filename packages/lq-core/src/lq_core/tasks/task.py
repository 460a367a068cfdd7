"""Tasks: functions with a name, options, and typed calls."""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from copy import copy
from functools import cached_property, partial
from typing import (
    Any,
    Generic,
    ParamSpec,
    Self,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    get_type_hints,
)

from lq_core.foundation.errors import (
    ConfigurationError,
    TaskDefinitionError,
    closest,
)
from lq_core.foundation.import_path import trust
from lq_core.records.record import QueuedTaskRecord
from lq_core.tasks.batch_signature import single_of
from lq_core.tasks.call import TaskCall
from lq_core.tasks.codec import CallCodec
from lq_core.tasks.context import TaskContext, with_context
from lq_core.tasks.habits import missing, not_awaited
from lq_core.tasks.injected import is_injected, without_none
from lq_core.tasks.options import OptionArguments, TaskOptions, change_options

Params = ParamSpec("Params")
Result = TypeVar("Result")
Item = TypeVar("Item")
Returned = TypeVar("Returned")


class Task(Generic[Params, Result]):
    """
    A function that can be queued, made by ``@task``.

    A call of it runs the function here and now. ``task.using(...)`` is a copy with other options and the same name
    and function.
    """

    def __init__(self, function: Callable[..., object], *, name: str, options: TaskOptions) -> None:
        self.function = function
        self.name = name
        self.options = options
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        trust(function)
        self.__name__ = getattr(function, "__name__", name)
        self.__wrapped__ = function
        self._check_context()
        self._check_names(options)

    @cached_property
    def codec(self) -> CallCodec[Result]:
        """Binds, encodes and decodes this task's calls and results."""
        supplied = frozenset({self._context_name} if self._context_name else ())
        return CallCodec(self.function, task_name=self.name, supplied=supplied)

    def using(self, **options: Unpack[OptionArguments]) -> Self:
        """
        Make a copy with other options, the same as of ``@task``: see ``help(lq_core.task)``.

        Raises ConfigurationError, which names the option.
        """
        _ = self.codec  # All copies share it.
        made = copy(self)
        made.options = change_options(self.options, options)
        self._check_names(made.options)
        return made

    def call(self, *args: Params.args, **kwargs: Params.kwargs) -> TaskCall[Result]:
        """Bind and encode a call, to be enqueued. Raises InvalidArgumentError, which names the parameter."""
        return TaskCall(self.name, self.codec.encode(args, kwargs), self.options, self.codec)

    def result_of(self, record: QueuedTaskRecord) -> Result:
        """Decode the result of a record of this task. Raises msgspec.DecodeError if it does not fit."""
        return self.codec.decode_result(record.result or "null")

    def run(self, context: TaskContext, arguments: str) -> Callable[..., object]:
        """
        Decode a call to the annotated types, and return the function with its arguments, without injected values.

        Raises msgspec.DecodeError, or its subclass ValidationError, if the arguments do not fit.
        """
        args, kwargs = self.codec.decode(arguments)
        if self._context_name:
            args.insert(0, context)
        return partial(self.function, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}{inspect.signature(self.function)}>"

    def _given(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[object, ...]:
        return with_context(args) if self._context_name and self._context_name not in kwargs else args

    def _check_context(self) -> None:
        for parameter in list(inspect.signature(self.function).parameters.values())[1:]:
            if without_none(parameter.annotation) is TaskContext and not is_injected(parameter):
                raise TaskDefinitionError(
                    f"The parameter {parameter.name!r} of task {self.name!r} is a TaskContext, but not the first one; "
                    f"put it first, or write it as `{parameter.name}: TaskContext = INJECTED`."
                )

    def _check_names(self, options: TaskOptions) -> None:
        given = {"key_from": options.key_from, "fairness_key_from": options.fairness_key_from}
        if not any(given.values()):
            return
        parameters = inspect.signature(self.function).parameters.values()
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        known = [p.name for p in parameters if p.kind in kinds and p.name != self._context_name and not is_injected(p)]
        for option, name in ((option, name) for option, names in given.items() for name in names or ()):
            if name not in known:
                advice = closest(name, known, f"There are: {', '.join(known) or 'none'}.")
                raise ConfigurationError(
                    f"{option} names {name!r}, but no call of {self.name} gives such a parameter by name. {advice}"
                )

    @cached_property
    def _context_name(self) -> str | None:
        first = next(iter(inspect.signature(self.function).parameters.values()), None)
        if first is None or first.annotation is first.empty or is_injected(first):
            return None
        annotation: object = first.annotation
        if isinstance(annotation, str):
            with suppress(NameError):  # The codec raises it with advice.
                annotation = get_type_hints(self.function).get(first.name)
        return first.name if without_none(annotation) is TaskContext else None


class AsyncTask(Task[Params, Result]):
    """A task made of an ``async def``: a worker runs it in its event loop."""

    def __call__(self, *args: Params.args, **kwargs: Params.kwargs) -> Coroutine[object, object, Result]:
        """Call the function here and now; await what it returns."""
        return cast("Coroutine[object, object, Result]", self.function(*self._given(args, kwargs), **kwargs))


class PlainTask(Task[Params, Result]):
    """A task made of a plain function: a worker runs it in a thread."""

    def __call__(self, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        """Call the function here and now."""
        return cast("Result", self.function(*self._given(args, kwargs), **kwargs))


class BatchTask(Task[[Item], Result], Generic[Item, Result, Returned]):
    """
    A task whose function takes the arguments of many calls as a list, and returns a list of their outcomes.

    A worker gathers the calls. An exception in the returned list fails its own call.
    """

    def __init__(
        self, function: Callable[..., object], *, name: str, options: TaskOptions, batch: int, batch_wait: float
    ) -> None:
        self.batch = batch
        """The most calls at once."""

        self.batch_wait = batch_wait
        """Seconds that the first call waits for others."""

        super().__init__(function, name=name, options=options)

    @cached_property
    def codec(self) -> CallCodec[Result]:
        """Binds, encodes and decodes one call and its result."""
        return CallCodec(single_of(self.function, self.name), task_name=self.name, supplied=frozenset())

    def run(self, context: TaskContext, arguments: str) -> Callable[..., object]:  # noqa: ARG002 -- as every task has it
        """Decode a call, and return a function that returns its argument; the worker calls the task's function."""
        args, kwargs = self.codec.decode(arguments)
        (item,) = (*args, *kwargs.values())
        return lambda: item

    def __call__(self, calls: list[Item], /, **injected: object) -> Returned:
        """Call the function with a list here and now."""
        return cast("Returned", self.function(calls, **injected))


# Set in this way, so that a type checker goes on to report names that a task does not have.
setattr(Task, "__getattr__", missing)  # noqa: B010 -- as above
setattr(Task, "__await__", not_awaited)  # noqa: B010 -- as above

AnyTask: TypeAlias = Task[..., object]
"""A task with any signature."""

AnyBatchTask: TypeAlias = BatchTask[Any, object, object]
"""A batch task with any signature."""


def as_batch(task: AnyTask) -> AnyBatchTask | None:
    """Return a task as a batch task; None if it is not one."""
    return cast("AnyBatchTask", task) if isinstance(task, BatchTask) else None
