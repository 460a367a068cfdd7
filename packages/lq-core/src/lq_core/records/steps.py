"""The steps of a task that a record keeps in its history, with their results, for the next attempt."""

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from lq_core.foundation.errors import PayloadTooLargeError
from lq_core.records.history import LASTING, told
from lq_core.records.record import QueuedTaskRecord


def kept(record: QueuedTaskRecord, event: str) -> Mapping[str, str]:
    """Return the values that a record keeps from events of this kind, as JSON by name."""
    return {entry.message or "": entry.value for entry in record.history if entry.event == event and entry.value}


def keep(
    record: QueuedTaskRecord, event: str, name: str, value: str, *, at: datetime, most_bytes: int
) -> QueuedTaskRecord:
    """
    Add a named value to the history of a record; its owner stays the same.

    Raises PayloadTooLargeError if its lasting values together take more than *most_bytes*.
    """
    values = [value, *(entry.value or "" for entry in record.history if entry.event in LASTING)]
    size = sum(len(each.encode()) for each in values)
    if size > most_bytes:
        raise PayloadTooLargeError(f"All that {record.task_name} keeps, up to the {event} {name!r},", size, most_bytes)
    return replace(record, history=told(record, event, at, message=name, value=value))
