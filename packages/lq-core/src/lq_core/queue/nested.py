"""
The values of a record that databases keep as JSON, and what is read of a row in which one of them is damaged.

One damaged row does not hold up the others: what cannot be read of it is left out, and told in the log and in
the record's history.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, get_type_hints
from uuid import UUID

from msgspec import json
from msgspec.structs import replace

from lq_core.errors import QueueError
from lq_core.event_log import event_log
from lq_core.record import (
    HistoryEntry,
    KeyScope,
    Limits,
    QueuedTaskRecord,
    TaskStatus,
)

log = event_log()


Nested: TypeAlias = Mapping[str, Callable[[str], Any]]
"""How each nested value is read, by the name of its field."""

_HINTS: Final = get_type_hints(QueuedTaskRecord)
STRICT: Final[Nested] = {
    name: json.Decoder(_HINTS[name]).decode
    for name in ("backoff", "retry_rules", "limits", "after", "metadata", "progress", "error", "history")
}
"""Raises for what is damaged."""

_EMPTY: Final[Mapping[str, Callable[[], object]]] = {"metadata": dict[str, str], "history": tuple[HistoryEntry, ...]}
"""What nothing is, where it is not None."""


_STATUSES: Final = {status.value: status for status in TaskStatus}
_SCOPES: Final = {scope.value: scope for scope in KeyScope}


def record_from(columns: dict[str, Any], nested: Nested) -> QueuedTaskRecord:
    """
    Make a record of its columns, which have the names of its fields.

    Nested values are JSON in them, or None for nothing; a status and a scope are their values.
    """
    for name, decode in nested.items():
        if columns[name] is not None:
            columns[name] = decode(columns[name])
        elif name in _EMPTY:
            columns[name] = _EMPTY[name]()
    columns["status"] = _STATUSES[columns["status"]]
    columns["key_scope"] = _SCOPES[columns["key_scope"]]
    return QueuedTaskRecord(**columns)


class RowReader(NamedTuple):
    """How rows are read as records, one after another: most of those that are read together have much in common."""

    read: Callable[[Any, Nested], QueuedTaskRecord]
    """Reads a row."""

    common: Callable[[Any], Hashable]
    """What rows may have in common: everything but the id, the arguments, and when it was created and is due."""

    read_rest: Callable[[Any, QueuedTaskRecord], QueuedTaskRecord]
    """Reads a row that has all this in common with that of a record."""


def read_rows(rows: Iterable[Any], reader: RowReader) -> list[QueuedTaskRecord]:
    """Read rows as records; a row of which not even the plain values can be read is passed over, and logged."""
    rows = list(rows)
    try:
        return _read(rows, reader)
    except Exception:  # noqa: BLE001 -- whatever is wrong, the rows are read one by one to find out with which
        return [record for row in rows for record in _rest_of(row, reader.read)]


def unreadable_holder(key: str | None) -> QueueError:
    """Say that a key cannot be asked for, since nothing can be made of the row that holds it."""
    return QueueError(
        f"The key {key!r} is held by a record that cannot be read; the log says what is wrong with it "
        "(record.unreadable). Repair the row or delete it."
    )


def predecessors_in(after: str | None) -> tuple[UUID, ...]:
    """Read whom a record comes after; one of which that cannot be read waits for nobody."""
    try:
        return STRICT["after"](after).ids if after else ()
    except Exception:  # noqa: BLE001 -- any damage will do; whoever reads the whole record tells of it
        return ()


def read_limits(text: str | None) -> Limits | None:
    """Read limits alone; damaged ones hold nothing back, and those of a record are told when all of it is read."""
    try:
        return None if text is None else STRICT["limits"](text)
    except Exception:  # noqa: BLE001 -- any reason will do
        return None


def _read(rows: Iterable[Any], reader: RowReader) -> list[QueuedTaskRecord]:
    read, common_to, read_rest = reader
    records: list[QueuedTaskRecord] = []
    first: dict[Hashable, QueuedTaskRecord] = {}
    for row in rows:
        common = common_to(row)
        like = first.get(common)
        if like is None:
            record = first[common] = read(row, STRICT)
        else:
            record = read_rest(row, like)
        records.append(record)
    return records


def _rest_of(row: Any, read: Callable[[Any, Nested], QueuedTaskRecord]) -> list[QueuedTaskRecord]:
    flaws: dict[str, str] = {}
    try:
        record = read(row, _lenient(flaws))
    except Exception:
        log.exception("record.unreadable", extra={"row": repr(tuple(row))[:1000]})
        return []
    if not flaws:
        return [record]
    log.error("record.damaged", extra={"record_id": str(record.id), **flaws})
    message = "; ".join(f"{name} could not be read and is left out: {flaw}" for name, flaw in flaws.items())
    told = HistoryEntry(at=record.created_at, event="damaged", message=message)
    # Whoever wrote the record since has kept what it was told then.
    return [record if told in record.history else replace(record, history=(*record.history, told))]


def _lenient(flaws: dict[str, str]) -> Nested:
    def or_nothing(name: str, decode: Callable[[str], object]) -> Callable[[str], object]:
        def read(text: str) -> object:
            try:
                return decode(text)
            except Exception as error:  # noqa: BLE001 -- any reason will do, and it is told
                flaws[name] = f"{error} in {text!r:.200}"
                return _EMPTY[name]() if name in _EMPTY else None

        return read

    return {name: or_nothing(name, decode) for name, decode in STRICT.items()}
