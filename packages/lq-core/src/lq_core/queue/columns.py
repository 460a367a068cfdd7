"""How the fields of a record are written as the columns of a database, which have their names."""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, TypeAlias

from msgspec import json

from lq_core.queue.nested import STRICT
from lq_core.record import KeyScope, QueuedTaskRecord, TaskStatus

Write: TypeAlias = Callable[[Any], object]
"""Turns a value that is not None into what the database keeps."""

_encode: Final = json.Encoder().encode


def to_text(value: object) -> str | None:
    """Write a nested value as JSON; None is None."""
    return None if value is None else _encode(value).decode()


def to_text_or_nothing(values: object) -> str | None:
    """Write metadata or a history, which are seldom there, as JSON."""
    return to_text(values or None)


def _to_value(member: TaskStatus | KeyScope) -> str:
    return member.value


WRITE: Final[Mapping[str, Write]] = {
    **dict.fromkeys(STRICT, to_text),
    **dict.fromkeys(("metadata", "history"), to_text_or_nothing),
    **dict.fromkeys(("status", "key_scope"), _to_value),
}
"""How the fields are written that no database knows."""


class Columns:
    """Some columns, in the order in which a statement takes them; *write* tells how those are written that need it."""

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
        """Write records as one array for each column."""
        return tuple(map(list, zip(*map(self.row, records), strict=True)))
