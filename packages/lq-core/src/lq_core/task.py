"""Tasks: functions with a name, options, and typed calls."""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from difflib import get_close_matches
from functools import cached_property, partial
from hashlib import sha256
from typing import (
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
from uuid import UUID

from lq_core.codec import CallCodec
from lq_core.context import TaskContext
from lq_core.errors import ConfigurationError, DuplicateTaskError, TaskDefinitionError, UnknownTaskError
from lq_core.identity import new_id
from lq_core.import_path import module_of
from lq_core.injected import is_injected
from lq_core.options import RETURN_EXISTING, OptionArguments, TaskOptions, change_options
from lq_core.record import NAME_LIMIT, QueuedTaskRecord, check_name

Params = ParamSpec("Params")
Result = TypeVar("Result")


class TaskCall(Generic[Result]):
    """A call that is bound and encoded, and can be enqueued: made by ``task.call(...)``."""

    __slots__ = ("_id", "arguments", "codec", "options", "task_name")

    def __init__(self, task_name: str, arguments: str, options: TaskOptions, codec: CallCodec[Result]) -> None:
        self.task_name = task_name
        self.arguments = arguments
        self.options = options
        self.codec = codec
        self._id: UUID | None = None

    @property
    def id(self) -> UUID:
        """
        The id that its record will have: asked for by a call that comes *after* this one.

        Such a call is enqueued once. Raises ConfigurationError when it has a key, since another record may hold that.
        """
        if self._id is None:
            if (key := self.key) is not None:
                raise ConfigurationError(
                    f"A call with the key {key!r} may turn out to be a record that is there already. "
                    "Enqueue it first, and name its result in after=[...]."
                )
            self._id = new_id()
        return self._id

    @property
    def key(self) -> str | None:
        """
        The unique key of the call: the one that was given, or made of chosen arguments; None without.

        Raises ConfigurationError when there is none, and the options say what becomes of it.
        """
        options = self.options
        if options.key is not None:
            return options.key
        if options.key_from is None:
            if options.key_scope is options.key_window is None and options.on_conflict is RETURN_EXISTING:
                return None
            raise _without_key(options)
        key = f"{self.task_name}:{self.codec.encode_some(self.arguments, options.key_from)}"
        return key if len(key) <= NAME_LIMIT else sha256(key.encode()).hexdigest()

    @property
    def has_id(self) -> bool:
        """Whether somebody has asked for the id of its record."""
        return self._id is not None

    def __repr__(self) -> str:
        return f"<TaskCall {self.task_name} {self.arguments}>"


class Task(Generic[Params, Result]):
    """
    A function that can be queued, made by ``@task``.

    Calling it runs the function here and now, as if it were no task. ``task.using(...)`` is a copy with other
    options; the two share one name and one function.
    """

    def __init__(self, function: Callable[..., object], *, name: str, options: TaskOptions) -> None:
        self.function = function
        self.name = name
        self.options = options
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__name__ = getattr(function, "__name__", name)
        self.__wrapped__ = function
        self._check_context()
        self._check_key_from()

    @cached_property
    def codec(self) -> CallCodec[Result]:
        """Binds, encodes and decodes this task's calls and results."""
        supplied = frozenset({self._context_name} if self._context_name else ())
        return CallCodec(self.function, task_name=self.name, supplied=supplied)

    def using(self, **options: Unpack[OptionArguments]) -> Self:
        """Make a copy with other options. Raises ConfigurationError, which names the option."""
        copy = type(self)(self.function, name=self.name, options=change_options(self.options, options))
        copy.__dict__["codec"] = self.codec
        return copy

    def call(self, *args: Params.args, **kwargs: Params.kwargs) -> TaskCall[Result]:
        """Bind and encode a call, to be enqueued. Raises InvalidArgumentError, which names the parameter."""
        return TaskCall(self.name, self.codec.encode(args, kwargs), self.options, self.codec)

    def result_of(self, record: QueuedTaskRecord) -> Result:
        """Decode what a record of this task returned. Raises msgspec.DecodeError where it does not fit."""
        return self.codec.decode_result(record.result or "null")

    def run(self, context: TaskContext, arguments: str) -> Callable[..., object]:
        """
        Decode a call to the annotated types, ready to be made; the injected values are to be given by name.

        Raises msgspec.DecodeError, or its subclass ValidationError, when the arguments do not fit.
        """
        args, kwargs = self.codec.decode(arguments)
        if self._context_name:
            args.insert(0, context)
        return partial(self.function, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}{inspect.signature(self.function)}>"

    def _check_context(self) -> None:
        for parameter in list(inspect.signature(self.function).parameters.values())[1:]:
            if parameter.annotation is TaskContext and not is_injected(parameter):
                raise TaskDefinitionError(
                    f"The parameter {parameter.name!r} of task {self.name!r} is a TaskContext, and not the first one; "
                    f"put it first, or write it as `{parameter.name}: TaskContext = INJECTED`."
                )

    def _check_key_from(self) -> None:
        if self.options.key_from is None:
            return
        parameters = inspect.signature(self.function).parameters.values()
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        known = [p.name for p in parameters if p.kind in kinds and p.name != self._context_name and not is_injected(p)]
        for name in self.options.key_from:
            if name not in known:
                close = get_close_matches(name, known, n=1)
                advice = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(known) or 'none'}."
                raise ConfigurationError(
                    f"key_from names {name!r}, which is no parameter of {self.name} that a call gives by name. {advice}"
                )

    @cached_property
    def _context_name(self) -> str | None:
        first = next(iter(inspect.signature(self.function).parameters.values()), None)
        if first is None or first.annotation is first.empty or is_injected(first):
            return None
        if first.annotation is TaskContext:
            return first.name
        try:
            return first.name if get_type_hints(self.function).get(first.name) is TaskContext else None
        except NameError:
            return None  # The codec raises it with advice.


class AsyncTask(Task[Params, Result]):
    """A task made of an ``async def``: a worker runs it in its event loop."""

    def __call__(self, *args: Params.args, **kwargs: Params.kwargs) -> Coroutine[object, object, Result]:
        """Call the function here and now; await what it returns."""
        return cast("Coroutine[object, object, Result]", self.function(*args, **kwargs))


class PlainTask(Task[Params, Result]):
    """A task made of a plain function: a worker runs it in a thread."""

    def __call__(self, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        """Call the function here and now."""
        return cast("Result", self.function(*args, **kwargs))


AnyTask: TypeAlias = Task[..., object]
"""A task whatever its signature, as the worker sees it."""

_TASKS: Final[dict[str, AnyTask]] = {}


class TaskDecorator(Protocol):
    """What ``@task(...)`` returns: it makes a task of an ``async def`` or a plain function."""

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
def task(*, name: str | None = None, **options: Unpack[OptionArguments]) -> TaskDecorator: ...
def task(
    function: Callable[..., object] | None = None, /, *, name: str | None = None, **options: Unpack[OptionArguments]
) -> object:
    """
    Make a function a task, with or without options: ``@task`` or ``@task(queue="mail", retries=3)``.

    The name is the function's module and qualified name unless one is given; records carry it, so that giving
    one keeps them runnable when the function moves. Raises ConfigurationError for a bad option,
    DuplicateTaskError when another function has the name, TaskDefinitionError for what cannot be a task.
    """
    made = change_options(TaskOptions(), options, beside=("name",))
    if name is not None:
        check_name("name of a task", name)

    def decorate(function: Callable[..., object]) -> AnyTask:
        if isinstance(function, str):
            raise TaskDefinitionError(
                f"{function!r} is not a function. A task is named like this: @task(name={function!r})."
            )
        is_other = isinstance(function, type) or inspect.isgeneratorfunction(function)
        is_other = is_other or inspect.isasyncgenfunction(function)
        if not hasattr(function, "__qualname__") or not callable(function) or is_other:
            raise TaskDefinitionError(f"{function!r} cannot be a task: use a plain function or an async def.")
        if _is_method(function):
            raise TaskDefinitionError(
                f"{function.__qualname__} is a method, and a worker has no object to call it with: use a function, and "
                "let it ask for what it needs (INJECTED)."
            )
        if "<lambda>" in function.__qualname__ and name is None:
            raise TaskDefinitionError("A lambda has no name that another process could find: use a def.")
        called = _name_of(function) if name is None else name
        if inspect.iscoroutinefunction(function):
            asynchronous: AsyncTask[..., object] = AsyncTask(function, name=called, options=made)
            return _registered(asynchronous)
        plain: PlainTask[..., object] = PlainTask(function, name=called, options=made)
        return _registered(plain)

    return decorate if function is None else decorate(function)


def find_task(name: str) -> AnyTask:
    """Find a registered task. Raises UnknownTaskError, which names the closest one."""
    try:
        return _TASKS[name]
    except KeyError:
        raise UnknownTaskError(name, _TASKS) from None


def known_tasks() -> Mapping[str, AnyTask]:
    """Return the tasks that are registered in this process, by name."""
    return dict(sorted(_TASKS.items()))


def _without_key(options: TaskOptions) -> ConfigurationError:
    wants = {"key_scope": options.key_scope, "key_window": options.key_window, "on_conflict": options.on_conflict}
    name, value = next((name, value) for name, value in wants.items() if value not in {None, RETURN_EXISTING})
    return ConfigurationError(f"{name} is {value!s}, and the call has no key; give key=... or key_from=(...).")


def _registered(made: AnyTask) -> AnyTask:
    known = _TASKS.get(made.name)
    if known and _place_of(known) != _place_of(made):
        raise DuplicateTaskError(made.name, _place_of(known), _place_of(made))
    _TASKS[made.name] = made
    return made


def _is_method(function: Callable[..., object]) -> bool:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    inside = function.__qualname__.rpartition(".")[0]
    if first is None or first.annotation is not first.empty or first.name not in {"self", "cls"}:
        return False
    return inside != "" and not inside.endswith("<locals>")


def _place_of(made: AnyTask) -> str:
    return f"{module_of(made.function)}.{made.function.__qualname__}"


def _name_of(function: Callable[..., object]) -> str:
    return f"{module_of(function)}.{function.__qualname__}"
