"""A record's life as a list of events, oldest first: its history, and what its other fields tell."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct
from msgspec.structs import asdict, replace

from lq_core.record import HistoryEntry, Progress, QueuedTaskRecord, TaskFailure, TaskStatus

_OF_RESERVATIONS = {"released", "rerouted", "lost", "failed"}


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened to one record."""

    record_id: UUID
    task_name: str
    event: str
    """``enqueued``, ``dispatched``, ``claimed``, ``progress``, ``log``, ``completed``, or one of the history's."""

    at: datetime
    attempt: int = 0
    worker_id: str | None = None
    failure: TaskFailure | None = None
    message: str | None = None
    progress: Progress | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from every other event of its record."""
        return (self.event, self.at, self.attempt, self.message)


def timeline(record: QueuedTaskRecord) -> list[Event]:
    """Tell what has happened to a record, as far as it remembers, in its order; progress is left out."""
    enqueued = Event(record_id=record.id, task_name=record.task_name, event="enqueued", at=record.created_at)
    events, begun = [enqueued], set[datetime | None]()
    for entry in (*record.history, _now(record)):
        facts = asdict(entry)
        del facts["started_at"]
        told = replace(enqueued, **facts)
        if entry.started_at is not None and entry.started_at not in begun:
            begun.add(entry.started_at)
            is_dispatched = record.status is TaskStatus.DISPATCHED and entry.started_at == record.started_at
            # What has happened to a reservation names no worker.
            is_dispatched = is_dispatched or (entry.worker_id is None and entry.event in _OF_RESERVATIONS)
            began = "dispatched" if is_dispatched else "claimed"
            events.append(replace(told, event=began, at=entry.started_at, failure=None, message=None))
        if entry.event:
            events.append(told)
    return events


def _now(record: QueuedTaskRecord) -> HistoryEntry:
    """Tell by an entry what the record itself tells: the attempt that it is in, or how it completed."""
    return HistoryEntry(
        at=record.finished_at or record.created_at,
        event="completed" if record.status is TaskStatus.COMPLETED else "",
        attempt=record.attempt,
        started_at=record.started_at,
        worker_id=record.worker_id,
    )
