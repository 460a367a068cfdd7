"""
The values that databases store as JSON, and how a damaged row is read.

A damaged row does not stop the others: its unreadable values are left out, and named in the log and in the history of
the record.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, get_type_hints
from uuid import UUID

from msgspec import DecodeError, json
from msgspec.structs import replace

from lq_core.foundation.errors import QueueError
from lq_core.foundation.event_log import event_log
from lq_core.records.record import HistoryEntry, KeyScope, Limits, QueuedTaskRecord, TaskStatus
from lq_core.schedules.schedule_state import ScheduleState

log = event_log()

Nested: TypeAlias = Mapping[str, Callable[[str], Any]]
"""The decoder of each nested value, by the name of its field."""

_HINTS: Final = get_type_hints(QueuedTaskRecord)
STRICT: Final[Nested] = {
    name: json.Decoder(_HINTS[name]).decode
    for name in ("backoff", "retry_rules", "limits", "after", "metadata", "progress", "error", "history")
}
"""These decoders raise for a damaged value."""

_EMPTY: Final[Mapping[str, Callable[[], object]]] = {"metadata": dict[str, str], "history": tuple[HistoryEntry, ...]}
"""The values that stand for NULL, where that is not None."""

_schedule_from: Final = json.Decoder(ScheduleState).decode
_STATUSES: Final = {status.value: status for status in TaskStatus}
_SCOPES: Final = {scope.value: scope for scope in KeyScope}


def record_from(columns: dict[str, Any], nested: Nested) -> QueuedTaskRecord:
    """
    Make a record of its columns, by the names of its fields.

    A nested value is JSON or None; a status and a scope are text.
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
    """Reads rows as records. Rows that are read together often differ in few columns."""

    read: Callable[[Any, Nested], QueuedTaskRecord]
    """Reads a whole row."""

    common: Callable[[Any], Hashable]
    """Everything but the id, the arguments, ``created_at`` and ``scheduled_at``."""

    read_rest: Callable[[Any, QueuedTaskRecord], QueuedTaskRecord]
    """Reads a row that has all this in common with a record."""


def read_rows(rows: Iterable[Any], reader: RowReader) -> list[QueuedTaskRecord]:
    """Read rows as records; skip and log a row whose plain values cannot be read."""
    rows = list(rows)
    try:
        return _read(rows, reader)
    except Exception:  # noqa: BLE001 -- reading row by row shows which one is damaged
        return [record for row in rows for record in _read_leniently(row, reader.read)]


def unreadable_holder(key: str | None) -> QueueError:
    """Make the error for a key whose holder cannot be read."""
    return QueueError(
        f"The key {key!r} is held by a record that cannot be read; the log says what is wrong with it "
        "(record.unreadable). Repair the row or delete it."
    )


def predecessors_in(after: str | None) -> tuple[UUID, ...]:
    """Read the predecessors of a record; a record with damaged ones waits for none."""
    try:
        return STRICT["after"](after).ids if after else ()
    except Exception:  # noqa: BLE001 -- reading the whole record reports the damage
        return ()


def read_limits(text: str | None) -> Limits | None:
    """Read limits; damaged ones do not limit anything."""
    try:
        return None if text is None else STRICT["limits"](text)
    except Exception:  # noqa: BLE001 -- reading the whole record reports the damage
        return None


def schedules_from(texts: Iterable[str]) -> list[ScheduleState]:
    """Read the states of schedules; skip and log a damaged one."""
    states: list[ScheduleState] = []
    for text in texts:
        try:
            states.append(_schedule_from(text))
        except DecodeError as error:
            log.error("schedule.unreadable", extra={"text": text[:1000], "error": str(error)})  # noqa: TRY400 -- the error says it all
    return states


def _read(rows: Iterable[Any], reader: RowReader) -> list[QueuedTaskRecord]:
    records: list[QueuedTaskRecord] = []
    first: dict[Hashable, QueuedTaskRecord] = {}
    for row in rows:
        common = reader.common(row)
        like = first.get(common)
        if like is None:
            record = first[common] = reader.read(row, STRICT)
        else:
            record = reader.read_rest(row, like)
        records.append(record)
    return records


def _read_leniently(row: Any, read: Callable[[Any, Nested], QueuedTaskRecord]) -> list[QueuedTaskRecord]:
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
    entry = HistoryEntry(at=record.created_at, event="damaged", message=message)
    # A write since the first read may have stored this entry.
    return [record if entry in record.history else replace(record, history=(*record.history, entry))]


def _lenient(flaws: dict[str, str]) -> Nested:
    def read(name: str, text: str) -> object:
        try:
            return STRICT[name](text)
        except Exception as error:  # noqa: BLE001 -- the flaw is logged
            flaws[name] = f"{error} in {text!r:.200}"
            return _EMPTY[name]() if name in _EMPTY else None

    return {name: partial(read, name) for name in STRICT}
