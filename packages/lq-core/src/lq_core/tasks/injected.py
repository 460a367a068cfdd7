"""Parameters that are not part of a call: lq gives their values where the function runs."""

import inspect
from collections import ChainMap
from collections.abc import Callable
from contextlib import suppress
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Never, Union, cast, get_args, get_origin, get_type_hints

from lq_core.foundation.errors import QueueError


class _Injected:
    """Stands in for a value until lq gives one."""

    def __repr__(self) -> str:
        return "INJECTED"

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"INJECTED has no {name!r}: give the value where you call the function yourself.")


INJECTED: Final = cast("Never", _Injected())
"""
The default of a parameter whose value lq injects, found by the parameter's annotation: ``pool: Pool = INJECTED``.

A type checker accepts it for every annotation, and callers leave the parameter out.
"""


def is_injected(parameter: inspect.Parameter) -> bool:
    """Whether lq injects the value of a parameter."""
    return is_injected_value(parameter.default)


def is_injected_value(value: object) -> bool:
    """Whether a value is INJECTED."""
    return isinstance(value, _Injected)


def hints_of(function: Callable[..., object], *, said: str, error: type[QueueError]) -> dict[str, Any]:
    """Read the annotations of a function. Raises *error*, with *said* for the function, if they name unknown types."""
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, AttributeError) as problem:
        raise error(
            f"The annotations of {said} cannot be read: {problem}. "
            "Import the types it names at run time, not under TYPE_CHECKING."
        ) from problem


def resolve_annotations(function: Callable[..., object]) -> None:
    """
    Replace annotations that are text by the types that they name, if they can be read now.

    A local function may name what is local where it is decorated. Text that names later types is left as it is.
    """
    annotations: object = getattr(function, "__annotations__", None)
    name: str = getattr(function, "__qualname__", "")
    if not isinstance(annotations, dict) or isinstance(function, type):
        return
    scopes: list[dict[str, object]] = []
    frame = inspect.currentframe() if "<locals>" in name else None
    while frame is not None:
        if name.startswith(f"{frame.f_code.co_qualname}.<locals>."):
            scopes.append(frame.f_locals)
        frame = frame.f_back
    with suppress(Exception):  # It is reported when the annotations are used.
        hints = get_type_hints(function, localns=dict(ChainMap(*scopes)), include_extras=True)
        for name, hint in hints.items():
            cast("dict[str, object]", annotations)[name] = None if hint is NoneType else hint  # As people write it.


def without_none(annotation: object) -> object:
    """Return the X of ``X | None``; any other annotation as it is."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        return Annotated[(without_none(inner), *notes)]
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    is_optional = get_origin(annotation) in {Union, UnionType} and len(kinds) == 1
    return kinds[0] if is_optional else annotation


def is_method(function: Callable[..., object]) -> bool:
    """Whether a function is a method of a class."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    inside = function.__qualname__.rpartition(".")[0]
    if first is None or first.annotation is not first.empty or first.name not in {"self", "cls"}:
        return False
    return inside != "" and not inside.endswith("<locals>")
