"""Tasks: functions with a name, options, and typed calls."""

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import cached_property, partial
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    get_type_hints,
    overload,
)

from lq_core.foundation.duration import Duration, seconds
from lq_core.foundation.errors import (
    ConfigurationError,
    DuplicateTaskError,
    TaskDefinitionError,
    UnknownTaskError,
    closest,
)
from lq_core.foundation.import_path import path_of, trust
from lq_core.foundation.validation import Count, Name, Seconds, check_value
from lq_core.records.record import QueuedTaskRecord
from lq_core.tasks.batch_signature import single_of
from lq_core.tasks.call import TaskCall
from lq_core.tasks.codec import CallCodec
from lq_core.tasks.context import TaskContext, with_context
from lq_core.tasks.habits import missing, not_awaited
from lq_core.tasks.injected import is_injected, is_method, resolve_annotations, without_none
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

BATCH_WAIT: Final = 0.2
"""Seconds that the first call of a batch waits for others, if the task does not say so."""

_TASKS: Final[dict[str, AnyTask]] = {}


class TaskDecorator(Protocol):
    """The result of ``@task(...)``: it makes an ``async def`` or a plain function a task."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload] -- a coroutine is also a result; the first that fits is meant
        self, function: Callable[Concatenate[TaskContext, Params], Coroutine[object, object, Result]], /
    ) -> AsyncTask[Params, Result]: ...
    @overload
    def __call__(
        self, function: Callable[Params, Coroutine[object, object, Result]], /
    ) -> AsyncTask[Params, Result]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[TaskContext, Params], Result], /
    ) -> PlainTask[Params, Result]: ...
    @overload
    def __call__(self, function: Callable[Params, Result], /) -> PlainTask[Params, Result]: ...


class BatchDecorator(Protocol):
    """The result of ``@task(batch=...)``: it makes a function from lists to lists a task."""

    @overload
    def __call__(
        self, function: Callable[[list[Item]], Coroutine[object, object, Sequence[Result | Exception]]], /
    ) -> BatchTask[Item, Result, Coroutine[object, object, Sequence[Result | Exception]]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[Item]], Sequence[Result | Exception]], /
    ) -> BatchTask[Item, Result, Sequence[Result | Exception]]: ...


@overload
def task(  # pyright: ignore[reportOverlappingOverload] -- a coroutine is also a result; the first that fits is meant
    function: Callable[Concatenate[TaskContext, Params], Coroutine[object, object, Result]], /
) -> AsyncTask[Params, Result]: ...
@overload
def task(function: Callable[Params, Coroutine[object, object, Result]], /) -> AsyncTask[Params, Result]: ...
@overload
def task(function: Callable[Concatenate[TaskContext, Params], Result], /) -> PlainTask[Params, Result]: ...
@overload
def task(function: Callable[Params, Result], /) -> PlainTask[Params, Result]: ...
@overload
def task(
    *, batch: int, batch_wait: Duration = BATCH_WAIT, name: str | None = None, **options: Unpack[OptionArguments]
) -> BatchDecorator: ...
@overload
def task(*, name: str | None = None, **options: Unpack[OptionArguments]) -> TaskDecorator: ...
def task(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    batch: int | None = None,
    batch_wait: Duration = BATCH_WAIT,
    **options: Unpack[OptionArguments],
) -> object:
    """
    Make a function a task, with or without options: ``@task`` or ``@task(queue="mail", retries=3)``.

    The default name is the function's module and qualified name. Records store the name: with a name of its own, a
    task can move to another module. Raises ConfigurationError for a bad option, DuplicateTaskError if another
    function has the name, TaskDefinitionError for a function that cannot be a task.

    With *batch*, the function takes a list: the arguments of at most so many calls, which a worker gathers for at most
    *batch_wait* seconds. It returns a list with one outcome for each, a result or an exception.

    These are the options; ``task.using(...)`` takes them, too. Durations are seconds or a ``timedelta``.

    * ``queue``: where its calls wait; ``"default"``.
    * ``priority``: calls with larger numbers are claimed first; 0.
    * ``delay``: do not start before so long after the enqueue.
    * ``scheduled_at``: do not start before this moment.
    * ``expires_in``: expire if not started so long after the enqueue.
    * ``expires_at``: expire if not started before this moment.
    * ``key``: while a record holds this key, no other one with the same key is created.
    * ``key_from``: make the key from the arguments of these parameters: ``("user_id",)``.
    * ``key_scope``: hold the key until the record is ``"started"`` or has ``"ended"``, the default.
    * ``key_window``: hold the key so long after the enqueue.
    * ``on_conflict``: ``"return_existing"``, ``"reject"``, ``"replace"`` or ``"debounce"`` if the key is held.
    * ``concurrency_key``: calls with the same one share *concurrency* and *rate*.
    * ``concurrency``: how many of them run at once, over all workers.
    * ``rate``: how many of them start in a span of time: ``RateLimit(5, per=60)``.
    * ``fairness_key``: among waiting calls of equal priority, those with different ones, such as tenants, take turns.
    * ``fairness_key_from``: make the fairness key from the arguments of these parameters: ``("tenant",)``.
    * ``retries``: how many failures are followed by another attempt; 0.
    * ``backoff``: how long to wait before a retry: seconds, a ``Backoff``, or a function of the failures.
    * ``retry_on``: retry after these exceptions only: ``(OSError,)``.
    * ``never_retry_on``: do not retry after these exceptions.
    * ``on_loss``: ``"retry"`` or ``"fail"``, when the worker dies or is stopped before the function has ended.
    * ``max_losses``: how many losses are followed by another start; None for 5.
    * ``timeout``: how long one attempt may take.
    * ``execution_backend``: where the calls run, such as ``"process"``.
    * ``execution_profile``: a size of this backend, such as a job of Cloud Run.
    * ``after``: do not start before these results, calls or ids have ended.
    * ``after_failure``: ``"cancel"`` or ``"run"`` the call if one of these does not complete.
    * ``metadata``: texts that are stored with the record.
    """
    made = change_options(TaskOptions(), options, beside=("name", "batch", "batch_wait"))
    wait = seconds(batch_wait)
    check_value("batch", batch, Count | None)
    check_value("batch_wait", wait, Seconds)
    if name is not None:
        check_value("The name of a task", name, Name)

    def decorate(function: Callable[..., object]) -> AnyTask:
        if isinstance(function, str):
            raise TaskDefinitionError(
                f"{function!r} is not a function. A task is named like this: @task(name={function!r})."
            )
        is_other = isinstance(function, type) or inspect.isgeneratorfunction(function)
        is_other = is_other or inspect.isasyncgenfunction(function)
        if not hasattr(function, "__qualname__") or not callable(function) or is_other:
            raise TaskDefinitionError(f"{function!r} cannot be a task: use a plain function or an async def.")
        if is_method(function):
            raise TaskDefinitionError(
                f"{function.__qualname__} is a method, and a worker has no object for it: use a function that asks "
                "for what it needs (INJECTED)."
            )
        if "<lambda>" in function.__qualname__ and name is None:
            raise TaskDefinitionError("A lambda has no name that another process could find: use a def.")
        resolve_annotations(function)
        known_as = path_of(function) if name is None else name
        if batch is None:
            kind = AsyncTask[..., object] if inspect.iscoroutinefunction(function) else PlainTask[..., object]
            task: AnyTask = kind(function, name=known_as, options=made)
        else:
            task = AnyBatchTask(function, name=known_as, options=made, batch=batch, batch_wait=wait)
        known = _TASKS.get(task.name)
        if known and path_of(known.function) != path_of(function):
            raise DuplicateTaskError(task.name, path_of(known.function), path_of(function))
        _check_codec(task)
        _TASKS[task.name] = task
        return task

    return decorate if function is None else decorate(function)


def as_batch(task: AnyTask) -> AnyBatchTask | None:
    """Return a task as a batch task; None if it is not one."""
    return cast("AnyBatchTask", task) if isinstance(task, BatchTask) else None


def find_task(name: str) -> AnyTask:
    """Find a registered task. Raises UnknownTaskError, which names the closest one."""
    try:
        return _TASKS[name]
    except KeyError:
        raise UnknownTaskError(name, tuple(_TASKS)) from None


def is_known(name: str) -> bool:
    """Whether a task of this name is registered in this process."""
    return name in _TASKS


def known_tasks() -> Mapping[str, AnyTask]:
    """Return the tasks that are registered in this process, by name."""
    return dict(sorted(_TASKS.items()))


def _check_codec(task: AnyTask) -> None:
    """Raise TaskDefinitionError for annotations that no call could fit; those that name later types are read later."""
    try:
        _ = task.codec
    except TaskDefinitionError as error:
        if not isinstance(error.__cause__, NameError | AttributeError):
            raise
