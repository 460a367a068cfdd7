"""What may be shown of a record, as plain values: in responses of an application, in the API and on the pages."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from lq_core.records.record import Progress, QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.records.steps import awaited
from lq_core.records.timeline import Event, timeline

ERROR_LENGTH = 200
"""How many characters of an error a summary shows."""


class RecordSummary(Struct, frozen=True, kw_only=True):
    """One row of a list of records, made by ``RecordSummary.of(record)``."""

    id: UUID
    task: str
    """The name of the task."""

    status: TaskStatus
    queue: str
    created_at: datetime
    scheduled_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    """How often the task has been started."""

    cancel_requested: bool
    error: str | None
    """The type and the first line of the message of the last failure."""

    progress: Progress | None

    @classmethod
    def of(cls, record: QueuedTaskRecord) -> Self:
        """Make a row of a record."""
        return cls(**_summary(record))


class RecordView(RecordSummary, frozen=True, kw_only=True):
    """
    Everything about one record, with its arguments and its result decoded from JSON.

    ``RecordView.of(record)`` makes it, for example as the response of a handler. It has no tracebacks unless you ask
    for them, but arguments, result and messages of errors: check who asks.
    """

    arguments: Any
    """The arguments of the call by name."""

    result: Any
    """What the task returned; None if it has not completed."""

    failure: TaskFailure | None
    """The last failure, also if a later attempt has completed."""

    priority: int
    key: str | None
    execution_backend: str
    execution_profile: str | None
    execution_ref: str | None
    log_url: str | None
    schedule: str | None
    worker_id: str | None
    retries: int
    retry_count: int
    losses: int
    timeout: float | None
    expires_at: datetime | None
    waits_for: str | None
    """The name of the signal for which the record waits."""

    blocked: bool
    after: Sequence[UUID]
    metadata: Mapping[str, str]
    timeline: Sequence[Event]
    """The events of the record, oldest first, without progress."""

    @classmethod
    def of(cls, record: QueuedTaskRecord, *, tracebacks: bool = False) -> Self:
        """Show a whole record, with tracebacks only if *tracebacks* is true."""
        events = timeline(record)
        failure = record.error
        if not tracebacks:
            failure = _without_traceback(failure)
            events = [replace(event, failure=_without_traceback(event.failure)) for event in events]
        return cls(
            **_summary(record),
            arguments=_decoded(record.arguments),
            result=_decoded(record.result),
            failure=failure,
            priority=record.priority,
            key=record.key,
            execution_backend=record.execution_backend,
            execution_profile=record.execution_profile,
            execution_ref=record.execution_ref,
            log_url=record.log_url,
            schedule=record.schedule,
            worker_id=record.worker_id,
            retries=record.retries,
            retry_count=record.retry_count,
            losses=record.losses,
            timeout=record.timeout,
            expires_at=record.expires_at,
            waits_for=awaited(record),
            blocked=record.blocked,
            after=record.after.ids if record.after else (),
            metadata=record.metadata,
            timeline=events,
        )


def _summary(record: QueuedTaskRecord) -> dict[str, Any]:
    error = record.error
    return {
        "id": record.id,
        "task": record.task_name,
        "status": record.status,
        "queue": record.queue,
        "created_at": record.created_at,
        "scheduled_at": record.scheduled_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "attempt": record.attempt,
        "cancel_requested": record.cancel_requested,
        "error": f"{error.type}: {error.message}".partition("\n")[0][:ERROR_LENGTH] if error else None,
        "progress": record.progress,
    }


def _decoded(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text  # Damaged; show what is stored.


def _without_traceback(failure: TaskFailure | None) -> TaskFailure | None:
    return replace(failure, traceback="") if failure else None
