"""Types without a JSON form of their own: how lq writes and reads them, and how an application adds others."""

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, TypeAlias, cast, get_args, get_origin

import msgspec

TypeEncoders: TypeAlias = Mapping[type[Any], Callable[[Any], Any]]
"""From types, whose subclasses count, to functions that make plain data of their values."""

TypeDecoders: TypeAlias = Sequence[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]]]
"""Pairs: a test of a type, and a function that makes a value of this type from the type and plain data."""

_AS_TEXT: Final = frozenset(
    f"ipaddress.IPv{version}{kind}" for version in (4, 6) for kind in ("Address", "Interface", "Network")
) | {"fractions.Fraction", "zoneinfo.ZoneInfo"}
"""Types that travel as their text, by name: lq imports no module for them."""

_encoders: Final[dict[type, Callable[[Any], Any]]] = {}
_decoders: Final[list[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]]]] = []


def add_types(encoders: TypeEncoders, decoders: TypeDecoders) -> None:
    """Let all tasks of this process that are defined from now on use more types; the newest rules count."""
    _encoders.update(encoders)
    _decoders[:0] = [each for each in decoders if each not in _decoders]


def is_readable(kind: object) -> bool:
    """Whether lq or the application can read values of a type that msgspec does not know."""
    return any(test(kind) for test, _ in _decoders) or _is_built_in(_class_of(kind))


def write(value: object) -> object:
    """Make plain data of a value that msgspec does not know. Raises TypeError with advice."""
    kind = type(value)
    for each in kind.__mro__:
        if each in _encoders:
            try:
                return _encoders[each](value)
            except Exception as error:
                raise TypeError(f"the encoder of {each.__qualname__} raised {type(error).__name__}: {error}") from error
    if isinstance(value, deque):
        if value.maxlen is not None:
            raise TypeError(f"a deque with maxlen={value.maxlen} would arrive without it; pass a list")
        return list(cast("deque[object]", value))
    if _is_model(kind):
        return cast("Any", value).model_dump(mode="json", by_alias=True, round_trip=True)
    if _is_built_in(kind):
        return str(value)
    raise TypeError(
        f"lq has no encoder for {kind.__qualname__}; pass plain data, or set QueueConfig(type_encoders=..., "
        "type_decoders=...)"
    )


def read(kind: Any, data: Any) -> object:
    """Make a value of a type that msgspec does not know. Raises TypeError or ValueError if the data do not fit."""
    for test, decode in _decoders:
        if test(kind):
            try:
                return decode(kind, data)
            except Exception as error:
                raise TypeError(f"the decoder of {kind} raised {type(error).__name__}: {error}") from error
    cls = _class_of(kind)
    if cls is deque:
        items = get_args(kind) or (Any,)
        return deque(msgspec.convert(data, list[items[0]], dec_hook=read))
    if _is_model(cls):
        return cast("Any", cls).model_validate_json(msgspec.json.encode(data))
    if _is_built_in(cls):
        if not isinstance(data, str):
            raise TypeError(f"Expected `str`, got `{type(data).__name__}`")
        return cls(data)
    return data  # A Protocol, which plain data may fit.


def _class_of(kind: object) -> type[Any]:
    return cast("type[Any]", get_origin(kind) or kind)


def _is_built_in(kind: type) -> bool:
    is_path = isinstance(cast("object", kind), type) and issubclass(kind, PurePath)
    return is_path or kind is deque or f"{kind.__module__}.{kind.__qualname__}" in _AS_TEXT or _is_model(kind)


def _is_model(kind: type) -> bool:
    """Whether a class is a model of pydantic, which is then already imported."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(cast("object", kind), type) and issubclass(kind, pydantic.BaseModel)
