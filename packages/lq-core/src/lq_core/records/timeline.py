"""The events of a record, oldest first, from its history and its other fields."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct
from msgspec.structs import asdict, replace

from lq_core.records.record import HistoryEntry, Progress, QueuedTaskRecord, TaskFailure, TaskStatus

_OF_RESERVATIONS = {"released", "rerouted", "lost", "failed"}


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event of one record."""

    record_id: UUID
    task_name: str
    event: str
    """``enqueued``, ``dispatched``, ``claimed``, ``progress``, ``completed``, or an event of the history."""

    at: datetime
    attempt: int = 0
    worker_id: str | None = None
    failure: TaskFailure | None = None
    message: str | None = None
    progress: Progress | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Identifies it among the events of its record."""
        return (self.event, self.at, self.attempt, self.message)


def timeline(record: QueuedTaskRecord) -> list[Event]:
    """List the events that a record remembers, oldest first, without progress."""
    # The record itself shows its current attempt, or its completion.
    now = HistoryEntry(
        at=record.finished_at or record.created_at,
        event="completed" if record.status is TaskStatus.COMPLETED else "",
        attempt=record.attempt,
        started_at=record.started_at,
        worker_id=record.worker_id,
    )
    enqueued = Event(record_id=record.id, task_name=record.task_name, event="enqueued", at=record.created_at)
    events, begun = [enqueued], set[datetime | None]()
    for entry in (*record.history, now):
        facts = asdict(entry)
        del facts["started_at"], facts["value"]
        told = replace(enqueued, **facts)
        if entry.started_at is not None and entry.started_at not in begun:
            begun.add(entry.started_at)
            is_dispatched = record.status is TaskStatus.DISPATCHED and entry.started_at == record.started_at
            # Events of a reservation have no worker.
            is_dispatched = is_dispatched or (entry.worker_id is None and entry.event in _OF_RESERVATIONS)
            began = "dispatched" if is_dispatched else "claimed"
            events.append(replace(told, event=began, at=entry.started_at, failure=None, message=None))
        if entry.event:
            events.append(told)
    return events
