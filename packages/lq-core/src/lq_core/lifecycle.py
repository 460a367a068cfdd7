"""
The life of a record: the only place that knows which step may follow which.

Every step is a pure function from a record to the next one. Queue backends never set a status
on their own: they keep what a step returns, and swap it in only while ``(id, epoch)`` still match.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from lq_core.errors import IllegalMoveError
from lq_core.record import AfterFailure, HistoryEntry, KeyScope, QueuedTaskRecord, TaskFailure, TaskStatus

MOVES: Final[Mapping[TaskStatus, tuple[TaskStatus, ...]]] = MappingProxyType(
    {
        TaskStatus.PENDING: (
            TaskStatus.PENDING,
            TaskStatus.DISPATCHED,
            TaskStatus.RUNNING,
            TaskStatus.CANCELLED,
            TaskStatus.EXPIRED,
        ),
        TaskStatus.DISPATCHED: (TaskStatus.RUNNING, TaskStatus.PENDING, TaskStatus.FAILED, TaskStatus.CANCELLED),
        TaskStatus.RUNNING: (TaskStatus.COMPLETED, TaskStatus.PENDING, TaskStatus.FAILED, TaskStatus.CANCELLED),
        TaskStatus.COMPLETED: (),
        TaskStatus.FAILED: (TaskStatus.PENDING,),
        TaskStatus.CANCELLED: (TaskStatus.PENDING,),
        TaskStatus.EXPIRED: (TaskStatus.PENDING,),
    }
)
"""Which status may follow which.

An ended record becomes pending again only when a person retries it; a pending one stays so when it is amended.
"""

LOG: Final = "log"
"""The event of a line that a task has logged."""

RELEASED: Final = "released"
"""The event of a reservation that was taken back."""

MAX_HISTORY: Final = 20
"""How many history entries a record keeps beside its task's log; older ones are dropped, those of releases first."""

MAX_LOG: Final = 50
"""How many lines of its task's log a record keeps; older ones are dropped."""

MAX_LOSSES: Final = 5
"""How often a start may be lost before the record is failed: whatever kills its workers is probably the task."""


def claim(record: QueuedTaskRecord, *, worker_id: str, at: datetime) -> QueuedTaskRecord:
    """Start a pending or dispatched record on *worker_id*: a new attempt begins."""
    return _move(
        record,
        TaskStatus.RUNNING,
        worker_id=worker_id,
        attempt=record.attempt + 1,
        started_at=at,
        finished_at=None,
        progress=None,
        key_released=_is_released_by_start(record),
    )


def dispatch(record: QueuedTaskRecord, *, at: datetime, execution_backend: str | None = None) -> QueuedTaskRecord:
    """
    Reserve a pending record for an external execution that is about to be asked for.

    *execution_backend* is who looks after it from now on; None for the record's own.
    """
    return _move(
        record,
        TaskStatus.DISPATCHED,
        execution_backend=execution_backend or record.execution_backend,
        started_at=at,
        finished_at=None,
        progress=None,
        key_released=_is_released_by_start(record),
    )


def complete(record: QueuedTaskRecord, *, result: str, at: datetime) -> QueuedTaskRecord:
    """End a running record well, with its encoded *result*."""
    return _end(record, TaskStatus.COMPLETED, at=at, result=result, error=None)


def retry_or_fail(
    record: QueuedTaskRecord, *, failure: TaskFailure, delay: float | None, at: datetime
) -> QueuedTaskRecord:
    """
    Record a failed attempt: retry after *delay* seconds while the budget lasts, else fail.

    A *delay* of None means that no retry is wanted. A task that was asked to stop is cancelled instead of retried.
    """
    if record.cancel_requested:
        return cancel(record, at=at, failure=failure)
    if delay is None or record.retry_count >= record.retries:
        return _end(record, TaskStatus.FAILED, at=at, error=failure, history=_told(record, "failed", at, failure))
    return _wait(
        record,
        until=at + timedelta(seconds=delay),
        retry_count=record.retry_count + 1,
        error=failure,
        history=_told(record, "retried", at, failure),
    )


def snooze(record: QueuedTaskRecord, *, delay: float, at: datetime, message: str | None = None) -> QueuedTaskRecord:
    """Put a running record back for *delay* seconds without spending its retry budget."""
    if record.cancel_requested:
        return cancel(record, at=at)
    until = at + timedelta(seconds=delay)
    return _wait(record, until=until, history=_told(record, "snoozed", at, message=message))


def interrupt(record: QueuedTaskRecord, *, at: datetime, message: str | None = None) -> QueuedTaskRecord:
    """Give a running record back, due at once, because its worker is stopping: no budget is spent."""
    if record.cancel_requested:
        return cancel(record, at=at)
    return _wait(record, until=at, history=_told(record, "interrupted", at, message=message))


def release(
    record: QueuedTaskRecord, *, at: datetime, delay: float = 0.0, message: str | None = None
) -> QueuedTaskRecord:
    """
    Take back a dispatched record whose execution was refused for certain: nothing is spent.

    Without a *message* it only waits for its turn, and its history tells nothing of it.
    """
    history = record.history if message is None else _told(record, RELEASED, at, message=message)
    return _wait(record, until=at + timedelta(seconds=delay), history=history)


def reroute(record: QueuedTaskRecord, *, execution_backend: str, at: datetime, message: str) -> QueuedTaskRecord:
    """Take back a dispatched record and send it to another execution backend, for good."""
    history = _told(record, "rerouted", at, message=message)
    return _wait(record, until=at, execution_backend=execution_backend, execution_profile=None, history=history)


def lose(record: QueuedTaskRecord, *, failure: TaskFailure, at: datetime, delay: float = 0.0) -> QueuedTaskRecord:
    """
    Take a record from an owner that is gone: back to pending, without spending the retry budget.

    After ``MAX_LOSSES`` losses the record is failed, since its task is likely what kills its workers.
    """
    if record.cancel_requested:
        return cancel(record, at=at, failure=failure)
    if record.losses >= MAX_LOSSES:
        return _end(record, TaskStatus.FAILED, at=at, error=failure, history=_told(record, "failed", at, failure))
    until = at + timedelta(seconds=delay)
    history = _told(record, "lost", at, failure)
    return _wait(record, until=until, losses=record.losses + 1, error=failure, history=history)


def cancel(record: QueuedTaskRecord, *, at: datetime, failure: TaskFailure | None = None) -> QueuedTaskRecord:
    """End a record that somebody does not want any more."""
    return _end(record, TaskStatus.CANCELLED, at=at, error=failure, history=_told(record, "cancelled", at, failure))


def request_cancel(record: QueuedTaskRecord) -> QueuedTaskRecord:
    """Ask the owner of a running record to stop it; the owner keeps its epoch and records the end."""
    return replace(record, cancel_requested=True)


def expire(record: QueuedTaskRecord, *, at: datetime) -> QueuedTaskRecord:
    """End a pending record that was not started in time."""
    return _end(record, TaskStatus.EXPIRED, at=at, history=_told(record, "expired", at))


def retry(record: QueuedTaskRecord, *, at: datetime) -> QueuedTaskRecord:
    """
    Bring an ended record back by hand, due at once, with its whole retry budget; IllegalMoveError for any other.

    One that comes after others, and has never been started, waits for them again.
    """
    if not record.has_ended:
        raise IllegalMoveError(record.id, record.status, "a new try before it has ended", MOVES[record.status])
    return _wait(
        record,
        until=at,
        retry_count=0,
        losses=0,
        finished_at=None,
        expires_at=None,
        blocked=record.after is not None and not record.attempt,
        history=_told(record, "revived", at),
    )


def unblock(record: QueuedTaskRecord, *, incomplete: Sequence[UUID], at: datetime) -> QueuedTaskRecord:
    """
    Let a blocked record go, when every record that it comes after has ended; *incomplete* are those that are no help.

    It becomes claimable at its time, or is cancelled where one of them has not completed and its policy says so.
    """
    if incomplete and record.after is not None and record.after.on_failure is AfterFailure.CANCEL:
        message = f"It comes after {', '.join(map(str, incomplete))}, which did not complete."
        return cancel(record, at=at, failure=TaskFailure(type="PredecessorFailed", message=message))
    return _move(record, TaskStatus.PENDING, blocked=False)


def note(record: QueuedTaskRecord, *, message: str, at: datetime) -> QueuedTaskRecord:
    """Keep a line of a running task's log; its owner stays the same."""
    return replace(record, history=_told(record, LOG, at, message=message))


def amend(record: QueuedTaskRecord, *, to: QueuedTaskRecord, reschedule: bool) -> QueuedTaskRecord:
    """Let a pending record ask for what *to* asks for, and, when it is rescheduled, at its time as well."""
    times = {"scheduled_at": to.scheduled_at, "expires_at": to.expires_at} if reschedule else {}
    return _move(
        record, TaskStatus.PENDING, arguments=to.arguments, priority=to.priority, metadata=to.metadata, **times
    )


def attach(record: QueuedTaskRecord, *, execution_ref: str, log_url: str | None = None) -> QueuedTaskRecord:
    """Store the name of the external execution of a dispatched or running record; its owner stays the same."""
    return replace(record, execution_ref=execution_ref, log_url=log_url or record.log_url)


def is_overdue(record: QueuedTaskRecord, *, at: datetime) -> bool:
    """Whether a pending record has passed its ``expires_at``."""
    return record.status is TaskStatus.PENDING and record.expires_at is not None and record.expires_at <= at


def can_be_started(record: QueuedTaskRecord, *, at: datetime) -> bool:
    """Whether somebody who names a record may start it: whatever its queue and its time, but not before others."""
    if record.status is TaskStatus.PENDING and (record.blocked or record.cancel_requested):
        return False
    return TaskStatus.RUNNING in MOVES[record.status] and not is_overdue(record, at=at)


def can_be_amended(record: QueuedTaskRecord, *, to: QueuedTaskRecord) -> bool:
    """Whether a record still waits to be started, so that it may as well ask for something else of its own task."""
    return (
        record.status is TaskStatus.PENDING
        and not record.attempt
        and not record.cancel_requested
        and record.task_name == to.task_name
        and not is_overdue(record, at=to.created_at)
    )


def holds_key(record: QueuedTaskRecord, *, at: datetime) -> bool:
    """Whether no second record with this one's key may be enqueued."""
    return record.key is not None and not record.key_released and not has_lapsed(record, at=at)


def has_lapsed(record: QueuedTaskRecord, *, at: datetime) -> bool:
    """
    Whether whoever asks for the key of a record may have it.

    The window is over for which the record was to hold it; or there is none, and nobody will ever start the record.
    """
    return is_overdue(record, at=at) if record.key_until is None else record.key_until <= at


def release_key(record: QueuedTaskRecord) -> QueuedTaskRecord:
    """Take the key from a record that has lapsed; its owner stays the same."""
    return replace(record, key_released=True)


def _wait(record: QueuedTaskRecord, *, until: datetime, **changes: object) -> QueuedTaskRecord:
    if record.status is TaskStatus.PENDING:
        raise IllegalMoveError(record.id, record.status, "a record that is put back", MOVES[record.status])
    usual = {
        "expires_at": None if record.attempt else record.expires_at,  # It was started in time.
        "blocked": False,
    }
    return _move(
        record, TaskStatus.PENDING, scheduled_at=until, worker_id=None, execution_ref=None, **{**usual, **changes}
    )


def _end(record: QueuedTaskRecord, to: TaskStatus, *, at: datetime, **changes: object) -> QueuedTaskRecord:
    _check_move(record, to)
    return replace(
        record,
        status=to,
        epoch=record.epoch + 1,
        finished_at=at,
        worker_id=None,
        execution_ref=None,
        cancel_requested=False,
        blocked=False,
        key_released=record.key_released or record.key_until is None or has_lapsed(record, at=at),
        **changes,
    )


def _is_released_by_start(record: QueuedTaskRecord) -> bool:
    return record.key_released or record.key_scope is KeyScope.STARTED


def _move(record: QueuedTaskRecord, to: TaskStatus, **changes: object) -> QueuedTaskRecord:
    _check_move(record, to)
    return replace(record, status=to, epoch=record.epoch + 1, **changes)


def _check_move(record: QueuedTaskRecord, to: TaskStatus) -> None:
    allowed = MOVES[record.status]
    if to not in allowed:
        raise IllegalMoveError(record.id, record.status, to, allowed)


def _told(
    record: QueuedTaskRecord,
    event: str,
    at: datetime,
    failure: TaskFailure | None = None,
    message: str | None = None,
) -> tuple[HistoryEntry, ...]:
    entry = HistoryEntry(
        at=at,
        event=event,
        attempt=record.attempt,
        started_at=record.started_at,
        worker_id=record.worker_id,
        failure=failure,
        message=message,
    )
    limit = MAX_LOG if event == LOG else MAX_HISTORY
    alike = [place for place, old in enumerate(record.history) if (old.event == LOG) == (event == LOG)]
    if len(alike) < limit:
        return (*record.history, entry)
    # What was only put off goes before what has happened to the task.
    first = next((place for place in alike if record.history[place].event == RELEASED), alike[0])
    return (*record.history[:first], *record.history[first + 1 :], entry)
