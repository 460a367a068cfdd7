"""Durations: applications write seconds or a ``timedelta``, and lq stores seconds."""

from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeAlias, TypeVar, cast, overload

Given = TypeVar("Given")
Stored = TypeVar("Stored")

Duration: TypeAlias = float | timedelta
"""A number of seconds, or a timedelta."""


@overload
def seconds(value: Duration) -> float: ...
@overload
def seconds(value: Duration | None) -> float | None: ...
def seconds(value: Duration | None) -> float | None:
    """Return a duration in seconds, and anything else as it is, for the check of its place."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def whole_seconds(value: int | timedelta) -> int:
    """Return a duration in whole seconds, and anything else as it is, for the check of its place."""
    if isinstance(value, timedelta) and not value % timedelta(seconds=1):
        return int(value.total_seconds())
    return cast("int", value)


class StoredAs(Generic[Given, Stored]):
    """
    A field of a dataclass that stores what *translate* makes of the value that is given.

    A type checker sees both types: ``poll_interval: StoredAs[Duration, float] = StoredAs(1.0, seconds)``.
    """

    def __init__(self, default: Stored, translate: Callable[[Given], Stored]) -> None:
        self._default = default
        self._translate = translate

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> Stored:
        return self._default if instance is None else vars(instance)[self._name]

    def __set__(self, instance: object, value: Given) -> None:
        vars(instance)[self._name] = self._translate(value)


DurationField: TypeAlias = StoredAs[Duration, float]
"""A field that takes seconds or a timedelta, and stores seconds."""


def duration(default: float) -> DurationField:
    """Make a field for a duration with a *default* in seconds."""
    return StoredAs(default, seconds)
