"""The fields of a record, written as the columns of a database that have their names."""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, TypeAlias

from msgspec import json

from lq_core.queue.json_values import STRICT
from lq_core.records.record import KeyScope, QueuedTaskRecord, TaskStatus

Write: TypeAlias = Callable[[Any], object]
"""Turns a value that is not None into the stored one."""

_encode: Final = json.Encoder().encode


def to_text(value: object) -> str | None:
    """Write a nested value as JSON; None is None."""
    return None if value is None else _encode(value).decode()


def to_text_or_nothing(values: object) -> str | None:
    """Write metadata or a history as JSON, and an empty one as None."""
    return to_text(values or None)


def _to_value(member: TaskStatus | KeyScope) -> str:
    return member.value


WRITE: Final[Mapping[str, Write]] = {
    **dict.fromkeys(STRICT, to_text),
    **dict.fromkeys(("metadata", "history"), to_text_or_nothing),
    **dict.fromkeys(("status", "key_scope"), _to_value),
}
"""How to write the fields that no database has a type for."""


class Columns:
    """Some columns in the order of a statement; *write* has the fields that need to be converted."""

    def __init__(self, *names: str, write: Mapping[str, Write] = WRITE) -> None:
        self._take = attrgetter(*names)
        self._write = [(place, write[name]) for place, name in enumerate(names) if name in write]

    def row(self, record: QueuedTaskRecord) -> list[Any]:
        """Write one record."""
        values = list(self._take(record))
        for place, write in self._write:
            if values[place] is not None:
                values[place] = write(values[place])
        return values

    def arrays(self, records: Iterable[QueuedTaskRecord]) -> tuple[list[Any], ...]:
        """Write records as one array per column."""
        return tuple(map(list, zip(*map(self.row, records), strict=True)))
