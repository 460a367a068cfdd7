"""How long a record waits for its start, and the priority that it gets by waiting."""

from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from lq_core.foundation.validation import LARGEST_NUMBER
from lq_core.records import lifecycle
from lq_core.records.record import QueuedTaskRecord, TaskStatus

NOMINAL_PRIORITY: Final = "lq.priority"
"""The key in the metadata of a record that has aged; its value is the priority that the call asked for."""


def waiting_since(record: QueuedTaskRecord) -> datetime:
    """Return when a record became due. With a fairness key, its turn may be earlier, and does not count."""
    last = (entry.at for entry in record.history[-1:])
    return max(record.scheduled_at, record.created_at, *last)


def nominal_priority(record: QueuedTaskRecord) -> int:
    """Return the priority that the call asked for, also after the record has aged."""
    text = record.metadata.get(NOMINAL_PRIORITY, "")
    try:
        return int(text)
    except ValueError:  # It has not aged, or the metadata of the application has this key.
        return record.priority


def aged(record: QueuedTaskRecord, *, step: timedelta, at: datetime) -> QueuedTaskRecord | None:
    """
    Give a record that may be claimed one more priority for each *step* that it has waited; None if nothing changes.

    A record that is not due, such as one that waits for a retry, gets its nominal priority back.
    """
    if record.status is not TaskStatus.PENDING or record.blocked or record.cancel_requested:
        return None
    if lifecycle.is_overdue(record, at=at):
        return None
    nominal = nominal_priority(record)
    waited = at - waiting_since(record)
    is_due = waited >= timedelta()
    priority = min(nominal + waited // step, LARGEST_NUMBER) if is_due else nominal
    if priority == record.priority or (is_due and priority < record.priority):
        return None
    metadata = {**record.metadata, NOMINAL_PRIORITY: str(nominal)}
    return lifecycle.amend(record, to=replace(record, priority=priority, metadata=metadata), reschedule=False)
