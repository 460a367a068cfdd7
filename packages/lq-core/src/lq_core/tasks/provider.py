"""Providers of injected values: functions that open a value, yield it, and close it again."""

import inspect
from collections import abc
from collections.abc import AsyncIterator, Callable, Container, Iterator, Mapping, Sequence
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
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast, get_args, get_origin

from lq_core.foundation.errors import ConfigurationError
from lq_core.tasks.context import TaskContext
from lq_core.tasks.injected import hints_of, is_injected, resolve_annotations, without_none

Value = TypeVar("Value")

Opens: TypeAlias = Callable[
    ...,
    AsyncIterator[Value]
    | Iterator[Value]
    | AbstractAsyncContextManager[Value, bool | None]
    | AbstractContextManager[Value, bool | None],
]
"""A generator function that yields once, async or not, or a function that returns a context manager."""

_WRAPPERS: Final = (
    *(abc.AsyncGenerator, abc.AsyncIterable, abc.AsyncIterator, abc.Generator, abc.Iterable, abc.Iterator),
    *(AbstractAsyncContextManager, AbstractContextManager),
)


class Scope(Enum):
    """How long a provided value is kept."""

    WORKER = "per_worker"
    ATTEMPT = "per_attempt"


class Provider(Generic[Value]):
    """
    A function that provides the values of one type, made by :func:`per_worker` or :func:`per_attempt`.

    Its return annotation names the type: ``-> AsyncIterator[Pool]`` provides a ``Pool``. Other providers give its
    own parameters, by annotation.
    """

    def __init__(self, function: Opens[Value], *, scope: Scope) -> None:
        resolve_annotations(function)
        self.function = function
        self.scope = scope
        self.name = f"{function.__module__}.{getattr(function, '__qualname__', function)}"

    @cached_property
    def provides(self) -> object:
        """The type that it yields. Raises ConfigurationError if the return annotation does not name it."""
        said = self._hints.get("return")
        if get_origin(said) not in _WRAPPERS:
            raise ConfigurationError(
                f"The return annotation of the provider {self.name}, {type_name(said)}, does not name what it yields. "
                "Write it as `async def pool() -> AsyncIterator[Pool]: ...`, with one `yield`."
            )
        return get_args(said)[0]

    @cached_property
    def needs(self) -> Mapping[str, object]:
        """The parameters that other providers give, with their types; those with defaults are left out."""
        parameters = [
            each
            for each in inspect.signature(self.function).parameters.values()
            if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}
            and (each.default is each.empty or is_injected(each))
        ]
        for each in parameters:
            if each.name not in self._hints:
                raise ConfigurationError(
                    f"The parameter {each.name!r} of the provider {self.name} needs an annotation, to find its value."
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
        return hints_of(self.function, said=f"the provider {self.name}", error=ConfigurationError)


def per_worker(function: Opens[Value], /) -> Provider[Value]:
    """
    Provide one value for all attempts of a process, as a decorator: a connection pool, a client, a model.

    lq opens it when the first task asks for it, and closes it with the service. It may need other values per worker.
    """
    return Provider(function, scope=Scope.WORKER)


def per_attempt(function: Opens[Value], /) -> Provider[Value]:
    """
    Provide a value for each attempt, as a decorator: a session, a transaction, a scratch directory.

    lq opens it before it calls the function, and closes it after the function; the provider sees its exception. It
    may need other values, per worker and per attempt, and the TaskContext.
    """
    return Provider(function, scope=Scope.ATTEMPT)


def by_type(providers: Sequence[object]) -> Mapping[object, Provider[object]]:
    """
    Map types to their providers.

    Raises ConfigurationError if two provide the same type, if they need each other in a circle, or if one per worker
    needs a value per attempt.
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
            source = found.get(key_of(needed, found))
            short_lived = without_none(needed) is TaskContext or (source is not None and source.scope is Scope.ATTEMPT)
            if provider.scope is Scope.WORKER and short_lived:
                raise ConfigurationError(
                    f"{provider.name} is kept per worker, and its parameter {parameter!r} is a {type_name(needed)}, "
                    "which exists only during an attempt. Make it @per_attempt as well."
                )
    _refuse_circles(found)
    return found


def key_of(kind: object, known: Container[object]) -> object:
    """Return the type by which a wanted value is known: the annotation itself, or X for ``X | None``."""
    return kind if kind in known else without_none(kind)


def type_name(kind: object) -> str:
    """Write the name of a type for a message."""
    return kind.__qualname__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def _refuse_circles(found: Mapping[object, Provider[object]]) -> None:
    needs = {
        each: [found[key] for kind in each.needs.values() if (key := key_of(kind, found)) in found]
        for each in found.values()
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = cast("list[Provider[object]]", error.args[1])
        names = " needs ".join(each.name for each in reversed(circle))
        raise ConfigurationError(f"Providers need each other in a circle: {names}.") from None
