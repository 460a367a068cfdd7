"""
Declared constraints, and messages about the values that they refuse.

A field declares what it takes, as in ``timeout: PositiveSeconds``. :func:`check` checks all fields of an object.
Every message gives the name, the value, and the description of what is allowed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cache, wraps
from inspect import formatannotation
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct, ValidationError, convert, defstruct
from msgspec.json import Decoder
from msgspec.structs import asdict

from lq_core.foundation.clock import LONGEST_WAIT
from lq_core.foundation.duration import DurationField, StoredAs
from lq_core.foundation.errors import ConfigurationError, closest

Settings = TypeVar("Settings")

LARGEST_NUMBER: Final = 2**31 - 1
"""The largest number that fits into an integer column of every database."""

NAME_LIMIT: Final = 255
"""The longest key or name in characters; an index of every database has room for it."""

HUNDRED_YEARS: Final = f"{LONGEST_WAIT:,.0f} (a hundred years)"
_STORABLE: Final = "^[^\0\ud800-\udfff]*$"
_SHOWN: Final = 200

_SECONDS: Final = Meta(
    ge=0, le=LONGEST_WAIT, description=f"a number of seconds from 0 to {HUNDRED_YEARS}, or a timedelta of that length"
)
_POSITIVE_SECONDS: Final = Meta(
    gt=0,
    le=LONGEST_WAIT,
    description=f"a number of seconds greater than 0, at most {HUNDRED_YEARS}, or a timedelta of that length",
)
Seconds: TypeAlias = Annotated[float, _SECONDS]
PositiveSeconds: TypeAlias = Annotated[float, _POSITIVE_SECONDS]
SecondsField: TypeAlias = Annotated[DurationField, _SECONDS]
PositiveSecondsField: TypeAlias = Annotated[DurationField, _POSITIVE_SECONDS]
Count: TypeAlias = Annotated[
    int, Meta(ge=1, le=LARGEST_NUMBER, description=f"a whole number from 1 to {LARGEST_NUMBER}")
]
CountOrZero: TypeAlias = Annotated[
    int, Meta(ge=0, le=LARGEST_NUMBER, description=f"a whole number from 0 to {LARGEST_NUMBER}")
]
Storable: TypeAlias = Annotated[str, Meta(pattern=_STORABLE, description="text without NUL and lone surrogates")]
Name: TypeAlias = Annotated[
    Storable,
    Meta(
        min_length=1,
        max_length=NAME_LIMIT,
        description=f"text of 1 to {NAME_LIMIT} characters, without NUL and lone surrogates",
    ),
]

_PLAIN: Final[Mapping[object, str]] = {
    NoneType: "None",
    bool: "True or False",
    float: "a number",
    int: "a whole number",
    str: "text",
}


def check(settings: object, *, prefix: str = "") -> None:
    """
    Check each field of a dataclass or a Struct against its annotation.

    Raises ConfigurationError, whose message begins with *prefix*.
    """
    kind = type(settings)
    values = asdict(settings) if isinstance(settings, Struct) else vars(settings)
    shape, others = _shape(kind)
    try:
        convert(values, shape)
    except ValidationError as error:
        raise refusal(kind, error, values, prefix=prefix) from None
    for name, hint in others.items():
        if not _fits(values[name], hint):
            raise wrong(kind, name, values[name], prefix=prefix)


def check_value(name: str, value: object, hint: object) -> None:
    """Check one value against an annotation. Raises ConfigurationError, whose message begins with *name*."""
    try:
        convert(value, hint)
    except ValidationError:
        raise _refused(f"{name} is {_shown(value)}", value, hint) from None


def refusal(
    kind: type, error: ValidationError, values: Mapping[str, object], *, prefix: str = ""
) -> ConfigurationError:
    """Make the error for the one of *values* that msgspec has refused for a field of *kind*."""
    found = re.search(r"`\$\.(\w+)", str(error))
    name = found[1] if found else ""
    return wrong(kind, name, values[name], prefix=prefix)


def wrong(kind: type, name: str, value: object, *, prefix: str = "") -> ConfigurationError:
    """Make the error for a value that the annotation of a field does not allow; it does not show a secret."""
    secrets = [each.name for each in _fields(kind) if not each.repr]
    shown = f"of type {type(value).__qualname__}" if name in secrets else _shown(value)
    return _refused(f"{prefix}{name} is {shown}", value, _hints(kind)[name])


def unknown_name(what: str, name: str, known: Sequence[str]) -> ConfigurationError:
    """Make the error for a name that does not exist; it suggests the closest ones."""
    advice = closest(name, known, f"There are: {', '.join(known)}.", most=2)
    return ConfigurationError(f"There is no {what} {name!r}. {advice}")


def refuse_unknown_fields(kind: type[Settings]) -> type[Settings]:
    """Make a dataclass raise ConfigurationError with a suggestion when a field is misspelt."""
    make = cast("Callable[..., None]", kind.__init__)
    names = [each.name for each in _fields(kind) if each.init]

    @wraps(make)
    def init(self: Settings, *args: object, **values: object) -> None:
        for name in values:
            if name not in names:
                raise unknown_name(f"field of {kind.__name__}", name, names)
        make(self, *args, **values)

    kind.__init__ = init
    return kind


@cache
def _shape(kind: type) -> tuple[type[Struct], Mapping[str, object]]:
    """Make a Struct with the annotations of a class; return it with the annotations that msgspec does not know."""
    hints = _hints(kind)
    others = {name: hint for name, hint in hints.items() if not _is_known(hint)}
    return defstruct(kind.__name__, [(name, Any if name in others else hint) for name, hint in hints.items()]), others


@cache
def _hints(kind: type) -> Mapping[str, object]:
    hints = get_type_hints(cast("object", kind), include_extras=True)
    names = (
        kind.__struct_fields__
        if issubclass(kind, Struct)
        else [each.name for each in _fields(cast("type[object]", kind))]
    )
    return {name: _stored(hints[name]) for name in names}


def _stored(hint: object) -> object:
    """Return the annotation of what a field stores."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_stored(args[0]), *args[1:])]
    if origin in {Union, UnionType} and timedelta in args:
        return Union[tuple(each for each in args if each is not timedelta)]  # noqa: UP007 -- `|` takes no tuple
    return args[1] if origin is StoredAs else hint


def _fields(kind: type) -> Sequence[Field[object]]:
    return fields(cast("Any", kind)) if is_dataclass(kind) else ()


def _is_known(hint: object) -> bool:
    try:
        Decoder(hint)
    except TypeError:
        return False
    return True


def _fits(value: object, hint: object) -> bool:
    """Check a value against a union of classes, or a tuple or the values of a dict with names against one."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(kind) is tuple:
        values = cast("Sequence[object]", value) if isinstance(value, tuple | list) else [None]
        return all(each != "" and isinstance(each, get_args(kind)[0]) for each in values)
    if get_origin(kind) is Mapping:
        pairs = cast("Mapping[object, object]", value) if isinstance(value, Mapping) else {None: None}
        return all(
            name and isinstance(name, str) and isinstance(each, get_args(kind)[1]) for name, each in pairs.items()
        )
    return isinstance(value, cast("type", kind))


def _refused(said: str, value: object, hint: object) -> ConfigurationError:
    advice = closest(str(value), _choices(hint))
    return ConfigurationError(f"{said}; it must be {_words(hint)}.{advice and f' {advice}'}")


def _words(hint: object) -> str:
    """Describe what an annotation allows."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        described = [each.description for each in args[1:] if isinstance(each, Meta) and each.description]
        return described[-1] if described else _words(args[0])
    if origin in {Union, UnionType}:
        return ", or ".join(map(_words, args))
    if choices := [repr(choice) for choice in _choices(hint)]:
        return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    return _PLAIN.get(hint) or formatannotation(hint)


def _choices(hint: object) -> Sequence[str]:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return [each.value for each in hint]
    if get_origin(hint) is Literal:
        return get_args(hint)
    return [choice for each in get_args(hint) for choice in _choices(each)]


def _shown(value: object) -> str:
    text = repr(value)
    if len(text) <= _SHOWN:
        return text
    return f"{text[:_SHOWN]}…" + (f" ({len(value)} characters)" if isinstance(value, str) else "")
