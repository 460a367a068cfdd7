"""
Whether values arrive whole: nothing is narrowed to another type, dropped or rounded on the way through JSON.

Annotations are checked when a task is defined; values are checked when a call is enqueued and a result is stored.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from reprlib import Repr
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import msgspec
from msgspec import inspect

from lq_core.tasks.injected import is_injected_value
from lq_core.tasks.more_types import is_readable

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""The types of JSON values that contain no others."""

_EXACT: Final = _PLAIN | {bytes, date, datetime, timedelta, UUID}
"""The types of values that arrive whole if they arrive equal."""

Sure: TypeAlias = Mapping[type, frozenset[type]]
"""Types of values that surely arrive whole; a list or dict of str does if all values in it have one of these types."""

_TEXT: Final = frozenset({str})
_KEYS: Final = (inspect.StrType(), inspect.AnyType())
ALWAYS: Final = frozenset[type]()
"""The entry of a type that contains no others."""

_SURE: Final = (
    *((inspect.NoneType(), type(None)), (inspect.BoolType(), bool), (inspect.IntType(), int)),
    *((inspect.FloatType(), float), (inspect.StrType(), str), (inspect.UUIDType(), UUID)),
)
"""Annotations without constraints, and the type of the values that arrive as they are."""

_SAMPLES: Final[Sequence[object]] = (None, True, 1, 1.5, "", [], {})
_BYTES: Final = (bytes, bytearray, memoryview)
_RICH: Final = (*_BYTES[:2], date, datetime, time, timedelta, Decimal, UUID)

_UNHASHABLE: Final = (inspect.ListType, inspect.SetType, inspect.DictType, inspect.TypedDictType, inspect.ByteArrayType)
_NO_KEYS: Final = (
    *(*_UNHASHABLE, inspect.FrozenSetType, inspect.TupleType, inspect.VarTupleType, inspect.NamedTupleType),
    *(inspect.NoneType, inspect.BoolType, inspect.StructType, inspect.DataclassType),
)
"""The types whose values cannot be keys of a JSON object."""

_SHORT: Final = Repr()
_SHORT.maxother = _SHORT.maxstring = 100


def check_annotation(annotation: object) -> Sure:
    """
    Return the values that need no check where this is the annotation.

    Raises TypeError if the annotation, or a part of it, is a type whose values cannot arrive.
    """
    kind = inspect.type_info(annotation)
    _check(kind, frozenset())
    msgspec.json.Decoder(annotation)  # It refuses unions that it could not tell apart.
    return _sure(kind)


def is_sure(value: Any, sure: Sure) -> bool:
    """Whether a value arrives whole without a look at how it does: most do, and to decode them takes longer."""
    kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType] -- any type at all
    inner = sure.get(kind)
    if inner is None:
        return False
    if kind is list:
        return inner.issuperset(map(type, value))
    if kind is dict:
        return _TEXT.issuperset(map(type, value)) and inner.issuperset(map(type, value.values()))
    return True


def difference(given: object, arrived: object) -> str:
    """Say how a value would arrive that would not arrive whole."""
    kinds = f" ({_name(type(given))} as {_name(type(arrived))})" if type(given) is not type(arrived) else ""
    return f"{shown(given)} would arrive as {shown(arrived)}{kinds}"


def shown(value: object) -> str:
    """Write a value for a message, shortened."""
    return _SHORT.repr(value)


def has_fields(kind: object) -> bool:
    """Whether an annotation is a class with fields, as the application writes them."""
    return any(
        hasattr(kind, name) for name in ("__struct_fields__", "__dataclass_fields__", "__attrs_attrs__", "model_fields")
    )


def is_whole(given: object, arrived: object) -> bool:
    """
    Whether a value arrives as it was given.

    A list may arrive as a tuple or the other way round, a whole number as a float of the same value, and JSON data,
    such as the text of a UUID, as the type of the annotation.
    """
    kind, other = type(given), type(arrived)
    if kind is other and kind in _EXACT:
        return given == arrived
    if kind is list or kind is tuple:
        return _is_whole_sequence(cast("Sequence[object]", given), arrived)
    if kind is dict:
        return _is_whole_object(cast("Mapping[object, object]", given), arrived)
    if kind is str:
        return other not in _PLAIN and other not in _BYTES
    if kind is int or kind is float:
        return isinstance(arrived, Enum) or given == arrived
    if kind in _BYTES and other in _BYTES:
        return given == arrived
    if kind in {set, frozenset} and other in {set, frozenset}:
        some, others = cast("Collection[object]", given), cast("Collection[object]", arrived)
        return some == others and {*map(type, some)} == {*map(type, others)}
    return msgspec.Raw in {kind, other} or (kind is other and _is_equal(given, arrived))


def _is_whole_sequence(given: Sequence[object], arrived: object) -> bool:
    if isinstance(arrived, set | frozenset):
        return len(given) == len(cast("Collection[object]", arrived))  # No duplicates are dropped.
    if not isinstance(arrived, list | tuple):
        return _is_whole_data(given, arrived)
    others = cast("Sequence[object]", arrived)
    if type(given) is type(others) and given == others and _EXACT.issuperset(map(type, given)):
        return True  # The usual case, and faster than one by one.
    return len(given) == len(others) and all(map(is_whole, given, others))


def _is_whole_object(given: Mapping[object, object], arrived: object) -> bool:
    if not isinstance(arrived, dict):
        return _is_whole_data(given, arrived)
    others = cast("Mapping[object, object]", arrived)
    if given == others and _EXACT.issuperset(map(type, given)) and _EXACT.issuperset(map(type, given.values())):
        return True
    return len(given) == len(others) and all(
        is_whole(key, other_key) and is_whole(value, other)
        for (key, value), (other_key, other) in zip(given.items(), others.items(), strict=True)
    )


def _is_whole_data(given: object, arrived: object) -> bool:
    """Whether JSON data that arrives as an object of the annotation contains nothing that the object drops."""
    try:
        data: object = msgspec.to_builtins(arrived, builtin_types=_RICH)
    except (TypeError, ValueError):
        return True  # A decoder of the application has made it.
    if type(given) is dict:
        if not isinstance(data, dict):
            return False
        kept = cast("Mapping[object, object]", data)
        names: tuple[object, ...] = getattr(arrived, "__struct_encode_fields__", ())
        return all(
            is_whole(value, kept[key]) if key in kept else key in names
            for key, value in cast("Mapping[object, object]", given).items()
        )
    return isinstance(data, list | tuple) and is_whole(given, cast("object", data))


def _is_equal(given: object, arrived: object) -> bool:
    """Compare two objects of one class, field by field where it has fields."""
    if isinstance(given, time):
        return given == arrived and (given.tzinfo is None or given.utcoffset() is not None)
    if isinstance(given, Decimal):
        return given == arrived or str(given) == str(arrived)  # NaN is not equal to itself.
    names = _fields(given)
    if names is not None:
        return all(is_whole(getattr(given, name, None), getattr(arrived, name, None)) for name in names)
    try:
        return bool(given == arrived) or type(given).__eq__ is object.__eq__
    except Exception:  # noqa: BLE001 -- the __eq__ of the user's class may raise anything
        return True


def _fields(value: object) -> Sequence[str] | None:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value):
        return [each.name for each in dataclasses.fields(value) if each.init or each.compare]
    if (attributes := getattr(type(value), "__attrs_attrs__", None)) is not None:
        return [each.name for each in attributes if each.init or each.eq]
    return getattr(cast("object", value), "_fields", None) if isinstance(value, tuple) else None


def _sure(kind: inspect.Type) -> Sure:
    if isinstance(kind, inspect.AnyType):
        return {**dict.fromkeys(_PLAIN, ALWAYS), list: _PLAIN, dict: _PLAIN}
    if isinstance(kind, inspect.UnionType):
        return {each: inner for one in kind.types for each, inner in _sure(one).items()}
    if isinstance(kind, inspect.ListType) and kind == inspect.ListType(kind.item_type):
        return {list: _leaves(kind.item_type)}
    if isinstance(kind, inspect.DictType) and kind in [inspect.DictType(key, kind.value_type) for key in _KEYS]:
        return {dict: _leaves(kind.value_type)}
    return {each: ALWAYS for plain, each in _SURE if kind == plain}


def _leaves(kind: inspect.Type) -> frozenset[type]:
    return frozenset(_sure(kind)) - {list, dict}


def _check(kind: inspect.Type, around: frozenset[type]) -> None:
    """Check a type and the types in it; *around* are the classes that contain it."""
    if isinstance(kind, inspect.CustomType) and not (
        is_readable(kind.cls) or any(_is_instance(sample, kind.cls) for sample in _SAMPLES)
    ):
        raise TypeError(f"`{_name(kind.cls)}` is not a type that JSON can hold.")
    if isinstance(kind, inspect.SetType | inspect.FrozenSetType) and (name := _unhashable(kind.item_type)):
        raise TypeError(f"A set cannot contain `{name}`, which is not hashable.")
    if isinstance(kind, inspect.DictType) and (name := _found(kind.key_type, _NO_KEYS)):
        raise TypeError(f"A key of a JSON object cannot be `{name}`.")
    cls = getattr(kind, "cls", None)
    if isinstance(cls, type):
        if cls in around:
            return
        around |= {cls}
    for inner in _inside(kind):
        if not isinstance(inner, inspect.Field):
            _check(inner, around)
        elif is_injected_value(inner.default):
            raise TypeError(f"INJECTED is the default of the field {inner.name!r}, and lq injects only parameters.")
        else:
            try:
                _check(inner.type, around)
            except TypeError as error:
                raise TypeError(f"in the field {inner.name!r}: {error}") from None


def _inside(kind: inspect.Type) -> Iterator[inspect.Type | inspect.Field]:
    for name in kind.__struct_fields__:
        value: Any = getattr(kind, name)
        for one in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            if isinstance(one, inspect.Type | inspect.Field):
                yield one


def _found(kind: inspect.Type, refused: tuple[type[inspect.Type], ...]) -> str | None:
    """Name the type if it is one of the refused ones; of a union, the first that is."""
    if isinstance(kind, inspect.UnionType):
        return next(filter(None, (_found(one, refused) for one in kind.types)), None)
    cls: type | None = getattr(kind, "cls", None)
    name = _name(cls) if cls else type(kind).__name__.removesuffix("Type").lower()
    return name if isinstance(kind, refused) else None


def _unhashable(kind: inspect.Type) -> str | None:
    """Name the type if its values cannot be in a set; of a union or a tuple, the first such type in it."""
    if isinstance(kind, inspect.UnionType | inspect.TupleType | inspect.VarTupleType | inspect.NamedTupleType):
        inner = (one.type if isinstance(one, inspect.Field) else one for one in _inside(kind))
        return next(filter(None, map(_unhashable, inner)), None)
    if isinstance(kind, inspect.StructType):
        config = kind.cls.__struct_config__
        return _name(kind.cls) if config.eq and not config.frozen and "__hash__" not in vars(kind.cls) else None
    if isinstance(kind, inspect.DataclassType):
        return _name(kind.cls) if kind.cls.__hash__ is None else None
    return _found(kind, _UNHASHABLE)


def _is_instance(sample: object, cls: type) -> bool:
    try:
        return isinstance(sample, cls)
    except TypeError:
        return False  # A Protocol that is not runtime_checkable.


def _name(cls: type) -> str:
    return cls.__qualname__.rpartition("<locals>.")[2]
