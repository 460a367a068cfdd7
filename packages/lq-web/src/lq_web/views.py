"""What the API answers and the pages show: records, queues, workers, schedules and findings, as plain values."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from lq_core.queue.messages import QueueState, Statistics
from lq_core.records.record import Limits, Progress, QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.records.timeline import Event, timeline
from lq_core.schedules.schedule_state import ScheduleState


class RecordSummary(Struct, frozen=True, kw_only=True):
    """One row of a list of records."""

    id: UUID
    task: str
    status: TaskStatus
    queue: str
    created_at: datetime
    scheduled_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    cancel_requested: bool
    error: str | None
    """The type and the first line of the message of the last failure."""

    progress: Progress | None


class RecordView(RecordSummary, frozen=True, kw_only=True):
    """Everything about one record. Arguments and result are decoded from JSON."""

    arguments: Any
    result: Any
    failure: TaskFailure | None
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
    blocked: bool
    after: Sequence[UUID]
    metadata: Mapping[str, str]
    timeline: Sequence[Event]


class Page(Struct, frozen=True, kw_only=True):
    """One page of records, newest first."""

    records: Sequence[RecordSummary]
    next: UUID | None
    """Give it as *before* to get the next page; None on the last one."""

    looked_at_newest: int | None = None
    """If the search ended after so many of the newest records, their number; older records may match too."""


class QueueView(Struct, frozen=True, kw_only=True):
    """One queue."""

    name: str
    counts: Mapping[TaskStatus, int]
    paused: bool
    draining: bool
    limits: Limits | None

    def count(self, status: str) -> int:
        """Return the number of records with a status."""
        return self.counts.get(TaskStatus(status), 0)


class ScheduleView(Struct, frozen=True, kw_only=True):
    """One schedule."""

    name: str
    plan: str
    paused: bool
    retired: bool
    """Whether no worker declares it any more, so that it does not fire."""

    task: str
    next: Sequence[datetime]
    last_due: datetime | None


def summary_of(record: QueuedTaskRecord) -> RecordSummary:
    """Make a row of a record."""
    return RecordSummary(**_summary(record))


def view_of(record: QueuedTaskRecord, *, tracebacks: bool) -> RecordView:
    """Show a whole record, with tracebacks only if *tracebacks* is true."""
    events = timeline(record)
    failure = record.error
    if not tracebacks:
        failure = _without_traceback(failure)
        events = [replace(event, failure=_without_traceback(event.failure)) for event in events]
    return RecordView(
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
        blocked=record.blocked,
        after=record.after.ids if record.after else (),
        metadata=record.metadata,
        timeline=events,
    )


def queues_of(statistics: Statistics, states: Mapping[str, QueueState]) -> list[QueueView]:
    """List the queues that have records or a state, those with the most waiting records first."""
    views = [
        QueueView(
            name=name,
            counts=statistics.counts.get(name, {}),
            paused=state.paused,
            draining=state.draining is not None,
            limits=state.limits,
        )
        for name in {*statistics.counts, *states}
        for state in (states.get(name, QueueState()),)
    ]
    return sorted(views, key=lambda view: (-view.count(TaskStatus.PENDING), -view.count(TaskStatus.FAILED), view.name))


def schedule_of(state: ScheduleState, times: Sequence[datetime]) -> ScheduleView:
    """Show a schedule with its next due times."""
    plan = state.plan
    text = f"every {plan.every:g} s" if plan.every else f"{plan.cron} ({plan.timezone})"
    return ScheduleView(
        name=state.name,
        plan=text,
        paused=state.paused,
        retired=state.retired,
        task=state.task_name,
        next=times,
        last_due=state.last_due,
    )


def _summary(record: QueuedTaskRecord) -> dict[str, Any]:
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
        "error": f"{record.error.type}: {record.error.message}".partition("\n")[0][:200] if record.error else None,
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
