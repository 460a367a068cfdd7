"""Where injected values come from: functions that open something, yield it, and close it again."""

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from enum import Enum
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

from lq_core.context import TaskContext
from lq_core.errors import ConfigurationError
from lq_core.injected import is_injected

Value = TypeVar("Value")

Opens: TypeAlias = Callable[
    ...,
    AsyncIterator[Value]
    | Iterator[Value]
    | AbstractAsyncContextManager[Value, bool | None]
    | AbstractContextManager[Value, bool | None],
]
"""A generator function that yields once, async or not, or a function that returns a context manager."""

_WRAPPERS: Final = frozenset(
    {
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Generator,
        Iterable,
        Iterator,
        AbstractAsyncContextManager,
        AbstractContextManager,
    }
)


class Scope(Enum):
    """How long a provided value is kept."""

    WORKER = "per_worker"
    ATTEMPT = "per_attempt"


class Provider(Generic[Value]):
    """
    A function that provides the values of one type, made by :func:`per_worker` or :func:`per_attempt`.

    Its return annotation says of which type: ``-> AsyncIterator[Pool]`` provides a ``Pool``. Its own parameters are
    given by other providers, by their annotations.
    """

    def __init__(self, function: Opens[Value], *, scope: Scope) -> None:
        self.function = function
        self.scope = scope
        self.name = f"{function.__module__}.{getattr(function, '__qualname__', function)}"

    @cached_property
    def provides(self) -> object:
        """The type of what it yields. Raises ConfigurationError when its annotations do not tell."""
        said = self._hints.get("return")
        if get_origin(said) not in _WRAPPERS:
            raise ConfigurationError(
                f"The provider {self.name} does not say what it yields: it is annotated with {type_name(said)}. "
                "Write it as `async def pool() -> AsyncIterator[Pool]: ...`, with one `yield`."
            )
        return get_args(said)[0]

    @cached_property
    def needs(self) -> Mapping[str, object]:
        """The parameters that other providers give, with their types; one with a default of its own is left alone."""
        parameters = [
            each
            for each in inspect.signature(self.function).parameters.values()
            if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}
            and (each.default is each.empty or is_injected(each))
        ]
        for each in parameters:
            if each.name not in self._hints:
                raise ConfigurationError(
                    f"The parameter {each.name!r} of the provider {self.name} has no annotation to find its value by."
                )
        return {each.name: self._hints[each.name] for each in parameters}

    async def enter(self, opened: AsyncExitStack, needs: Mapping[str, object]) -> Value:
        """Open a value, to be closed by *opened*."""
        manager = self._manager(**needs)
        if isinstance(manager, AbstractAsyncContextManager):
            return await opened.enter_async_context(cast("AbstractAsyncContextManager[Value]", manager))
        return opened.enter_context(cast("AbstractContextManager[Value]", manager))

    def __repr__(self) -> str:
        return f"<Provider {self.name} {self.scope.value}>"

    @cached_property
    def _manager(self) -> Callable[..., object]:
        function = cast("Callable[..., Any]", self.function)
        if inspect.isasyncgenfunction(function):
            return asynccontextmanager(function)
        return contextmanager(function) if inspect.isgeneratorfunction(function) else function

    @cached_property
    def _hints(self) -> Mapping[str, object]:
        try:
            return get_type_hints(self.function, include_extras=True)
        except NameError as error:
            raise ConfigurationError(
                f"The annotations of the provider {self.name} cannot be read: {error}. "
                "Import the types it names at run time, not under TYPE_CHECKING."
            ) from error


def per_worker(function: Opens[Value], /) -> Provider[Value]:
    """
    Provide one value for all attempts of a process, as a decorator: a connection pool, a client, a model.

    It is opened when the first task asks for it, and closed when the service closes. It may need other values per
    worker.
    """
    return Provider(function, scope=Scope.WORKER)


def per_attempt(function: Opens[Value], /) -> Provider[Value]:
    """
    Provide a value for each attempt, as a decorator: a session, a transaction, a scratch directory.

    It is opened before the function is called, and closed when that has ended, in whatever way; it sees the
    exception, if there is one. It may need other values, per worker and per attempt, and the TaskContext.
    """
    return Provider(function, scope=Scope.ATTEMPT)


def by_type(providers: Sequence[object]) -> Mapping[object, Provider[object]]:
    """
    Sort providers by what they provide.

    Raises ConfigurationError when two provide the same, when they need each other in a circle, and when one per
    worker needs what there is only during an attempt.
    """
    found: dict[object, Provider[object]] = {}
    for each in providers:
        if not isinstance(each, Provider):
            raise ConfigurationError(
                f"providers has {each!r} in it; it takes functions with the decorator @per_worker or @per_attempt."
            )
        provider = cast("Provider[object]", each)
        other = found.setdefault(provider.provides, provider)
        if other is not provider:
            raise ConfigurationError(
                f"{other.name} and {provider.name} both provide {type_name(provider.provides)}. Leave one of them out, "
                "or tell the two apart: typing.NewType, or Annotated[..., 'a name']."
            )
    for provider in found.values():
        for parameter, needed in provider.needs.items():
            source = found.get(needed)
            short_lived = needed is TaskContext or (source is not None and source.scope is Scope.ATTEMPT)
            if provider.scope is Scope.WORKER and short_lived:
                raise ConfigurationError(
                    f"{provider.name} is kept per worker, and its parameter {parameter!r} is a {type_name(needed)}, "
                    "which there is only during an attempt. Make it @per_attempt as well."
                )
    _refuse_circles(found)
    return found


def type_name(kind: object) -> str:
    """Write a type as a person would."""
    return kind.__qualname__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def _refuse_circles(found: Mapping[object, Provider[object]]) -> None:
    needs = {each: [found[kind] for kind in each.needs.values() if kind in found] for each in found.values()}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = cast("list[Provider[object]]", error.args[1])
        names = " needs ".join(each.name for each in reversed(circle))
        raise ConfigurationError(f"Providers need each other in a circle: {names}.") from None
