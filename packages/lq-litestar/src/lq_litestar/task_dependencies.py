"""The dependencies of the application, as values that its tasks can ask for."""

import inspect
from collections import Counter, abc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final, cast, get_args, get_origin, get_type_hints

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from lq_core import Provider, per_attempt

_YIELDING: Final = (abc.AsyncGenerator, abc.AsyncIterable, abc.AsyncIterator, abc.Generator, abc.Iterable, abc.Iterator)


def providers_of(app: Litestar) -> tuple[Provider[Any], ...]:
    """
    Make a provider of each dependency of the application that needs no request.

    A dependency provides the type of its return annotation, opened for each attempt and closed after it, and it may
    need other dependencies, the ``State`` and the ``Litestar`` application. Left out are dependencies that need a
    request, have no return annotation, or have the same type as another one.
    """
    dependencies = {name: _provide(one) for name, one in cast("Mapping[str, Any]", app.dependencies).items()}
    types = {name: found for name, one in dependencies.items() if (found := _type_of(one)) is not None}
    shared = {kind for kind, number in Counter(types.values()).items() if number > 1}
    types = {name: kind for name, kind in types.items() if kind not in shared}
    usable: dict[str, Provider[Any]] = {}
    waiting = dict(types)
    known = {"state", "app"}
    while ready := {name: needs for name in waiting if (needs := _needs(dependencies[name], known)) is not None}:
        for name, needs in ready.items():
            usable[name] = _provider(dependencies[name], waiting.pop(name), needs, types)
        known |= ready.keys()
    return (*(_given(kind, value) for kind, value in ((State, app.state), (Litestar, app))), *usable.values())


def _provide(dependency: Provide | Callable[..., Any]) -> Provide:
    return dependency if isinstance(dependency, Provide) else Provide(dependency, sync_to_thread=False)


def _type_of(provide: Provide) -> Any:
    """Find the type of the values of a dependency; None if its annotation does not tell."""
    if inspect.isclass(provide.dependency):
        return provide.dependency
    try:
        said = get_type_hints(provide.dependency).get("return")
    except (NameError, TypeError):
        return None
    return get_args(said)[0] if get_origin(said) in _YIELDING else said


def _needs(provide: Provide, known: abc.Set[str]) -> tuple[str, ...] | None:
    """List the parameters of a dependency; None if one of them comes from a request."""
    parameters = inspect.signature(provide.dependency).parameters.values()
    needed = tuple(one.name for one in parameters if one.name in known or one.default is one.empty)
    return needed if set(needed) <= known else None


def _provider(provide: Provide, kind: Any, needs: tuple[str, ...], types: Mapping[str, Any]) -> Provider[Any]:
    async def opened(**values: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as closing:
            if provide.has_async_generator_dependency:
                yield await closing.enter_async_context(asynccontextmanager(provide.dependency)(**values))
            elif provide.has_sync_generator_dependency:
                yield closing.enter_context(contextmanager(provide.dependency)(**values))
            else:
                yield await provide(**values)

    kinds = {"state": State, "app": Litestar, **types}
    return _declared(opened, kind, {name: kinds[name] for name in needs}, name=str(provide.dependency))


def _given(kind: type, value: object) -> Provider[Any]:
    async def given() -> AsyncIterator[Any]:
        yield value

    return _declared(given, kind, {}, name=kind.__name__)


def _declared(
    function: Callable[..., AsyncIterator[Any]], kind: Any, needs: Mapping[str, Any], *, name: str
) -> Provider[Any]:
    """Give a function the signature that tells lq what it provides and needs."""
    parameters = [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, annotation=needs[each]) for each in needs]
    returns = AsyncIterator[kind]
    function.__annotations__ = {**needs, "return": returns}
    cast("Any", function).__signature__ = inspect.Signature(parameters, return_annotation=returns)
    function.__qualname__ = name
    return per_attempt(function)
