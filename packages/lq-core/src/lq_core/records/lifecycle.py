"""
The life of a record: the only place that decides which step may follow which.

Every step is a pure function from a record to the next one. A store keeps what a step returns, if ``(id, epoch)``
still match.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from lq_core.foundation.errors import IllegalMoveError
from lq_core.records.history import LOG, PASSED_ON, RELEASED, RETRIED_BY_HAND, passed_on, told
from lq_core.records.record import AfterFailure, KeyScope, OnLoss, QueuedTaskRecord, RetryRules, TaskFailure, TaskStatus

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
"""
Which status may follow which.

An ended record becomes pending again only by a retry by hand; a pending one stays pending when it is amended.
"""

MAX_LOSSES: Final = RetryRules().max_losses
"""How many losses are followed by another start, if the task does not say so."""

SNOOZED: Final = "snoozed"
"""The event of a task that has put its record back."""

SHORTEST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds for which a record waits after a worker could not read it: as long as it has waited already, within these."""


def claim(record: QueuedTaskRecord, *, worker_id: str, at: datetime) -> QueuedTaskRecord:
    """Start a new attempt at a pending or dispatched record on *worker_id*."""
    return _start(record, TaskStatus.RUNNING, at, worker_id=worker_id, attempt=record.attempt + 1)


def dispatch(record: QueuedTaskRecord, *, at: datetime, execution_backend: str | None = None) -> QueuedTaskRecord:
    """
    Reserve a pending record for an external execution that is about to be requested.

    *execution_backend* looks after it from now on; None keeps the record's own.
    """
    looked_after_by = execution_backend or record.execution_backend
    return _start(record, TaskStatus.DISPATCHED, at, execution_backend=looked_after_by)


def complete(record: QueuedTaskRecord, *, result: str, at: datetime) -> QueuedTaskRecord:
    """Complete a running record with its encoded *result*."""
    return _end(record, TaskStatus.COMPLETED, at=at, result=result, error=None)


def retry_or_fail(
    record: QueuedTaskRecord, *, failure: TaskFailure, delay: float | None, at: datetime
) -> QueuedTaskRecord:
    """
    Record a failed attempt: retry after *delay* seconds while the budget lasts, else fail.

    A *delay* of None asks for no retry. A record that was asked to stop is cancelled instead of retried.
    """
    if record.cancel_requested:
        return cancel(record, at=at, failure=failure)
    if delay is None or record.retry_count >= record.retries:
        return _fail(record, failure, at)
    history = told(record, "retried", at, failure)
    return _wait(record, at, delay, history=history, retry_count=record.retry_count + 1, error=failure)


def snooze(record: QueuedTaskRecord, *, delay: float, at: datetime, message: str | None = None) -> QueuedTaskRecord:
    """Postpone a running record for *delay* seconds without spending its retry budget."""
    if record.cancel_requested:
        return cancel(record, at=at)
    return _wait(record, at, delay, history=told(record, SNOOZED, at, message=message))


def interrupt(
    record: QueuedTaskRecord, *, at: datetime, message: str | None = None, has_begun: bool = False
) -> QueuedTaskRecord:
    """
    Stop a running record because its worker shuts down: it is due at once, and no budget is spent.

    If the function *has_begun*, and must not be started again after a loss, the record fails.
    """
    if record.cancel_requested:
        return cancel(record, at=at)
    if has_begun and _is_started_once(record):
        failure = TaskFailure(type="Interrupted", message=f"It was {message or 'interrupted'}, and on_loss is 'fail'.")
        return _fail(record, failure, at)
    return _wait(record, at, history=told(record, "interrupted", at, message=message))


def pass_on(
    record: QueuedTaskRecord, *, failure: TaskFailure, patience: float, at: datetime, least: float = 0.0
) -> QueuedTaskRecord:
    """
    Release a running record whose task or arguments its worker cannot read, as it was before the claim.

    A worker of another version may read it. The record waits for *least* seconds, or as long as it has waited already.
    After *patience* seconds without such a worker, it fails.
    """
    if record.cancel_requested:
        return cancel(record, at=at)
    others = tuple(entry for entry in record.history if entry.event != PASSED_ON)
    before = replace(record, attempt=record.attempt - 1, started_at=None, history=others)
    since = at if (first := passed_on(replace(before, history=record.history))) is None else first.at
    waited = (at - since).total_seconds()
    if waited >= patience:
        return _fail(record, failure, at)
    delay = min(max(waited, least, SHORTEST_PAUSE), LONGEST_PAUSE)
    return release_claim(replace(record, history=told(before, PASSED_ON, since, failure)), delay=delay, at=at)


def release(
    record: QueuedTaskRecord, *, at: datetime, delay: float = 0.0, message: str | None = None
) -> QueuedTaskRecord:
    """
    Take back a dispatched record that certainly has no execution: no budget is spent.

    Without a *message* the record only waits for its turn, and its history does not show it.
    """
    history = record.history if message is None else told(record, RELEASED, at, message=message)
    return _wait(record, at, delay, history=history)


def release_claim(record: QueuedTaskRecord, *, delay: float, at: datetime) -> QueuedTaskRecord:
    """Release a claimed record that was not started, as it was before the claim; it is due after *delay* seconds."""
    if record.cancel_requested:
        return cancel(record, at=at)
    before = replace(record, attempt=record.attempt - 1, started_at=None)
    return _wait(before, at, delay, expires_at=record.expires_at)


def reroute(record: QueuedTaskRecord, *, execution_backend: str, at: datetime, message: str) -> QueuedTaskRecord:
    """Take back a dispatched record and send it to another execution backend, for good."""
    history = told(record, "rerouted", at, message=message)
    return _wait(record, at, history=history, execution_backend=execution_backend, execution_profile=None)


def lose(record: QueuedTaskRecord, *, failure: TaskFailure, at: datetime, delay: float = 0.0) -> QueuedTaskRecord:
    """
    Take a record from a dead owner: back to pending, without spending the retry budget.

    After ``max_losses`` the record is failed, since its task probably kills its workers; with ``on_loss="fail"``, at
    once, unless it was never started.
    """
    if record.cancel_requested:
        return cancel(record, at=at, failure=failure)
    if fails_at_next_loss(record):
        return _fail(record, failure, at)
    history = told(record, "lost", at, failure)
    return _wait(record, at, delay, history=history, losses=record.losses + 1, error=failure)


def fails_at_next_loss(record: QueuedTaskRecord) -> bool:
    """Whether a record that is lost now must not be started again."""
    most = MAX_LOSSES if record.retry_rules is None else record.retry_rules.max_losses
    return record.losses >= most or (record.status is TaskStatus.RUNNING and _is_started_once(record))


def _is_started_once(record: QueuedTaskRecord) -> bool:
    return record.retry_rules is not None and record.retry_rules.on_loss is OnLoss.FAIL


def cancel(record: QueuedTaskRecord, *, at: datetime, failure: TaskFailure | None = None) -> QueuedTaskRecord:
    """End a record that is not wanted any more."""
    return _end(record, TaskStatus.CANCELLED, at=at, error=failure, history=told(record, "cancelled", at, failure))


def request_cancel(record: QueuedTaskRecord) -> QueuedTaskRecord:
    """
    Ask the owner of a running record to stop it; the owner keeps its epoch and records the end.

    The record releases its key, unless a window lasts, so that an enqueue with the key is not cancelled with it.
    """
    return replace(record, cancel_requested=True, key_released=record.key_released or record.key_until is None)


def expire(record: QueuedTaskRecord, *, at: datetime) -> QueuedTaskRecord:
    """End a pending record that was not started in time."""
    return _end(record, TaskStatus.EXPIRED, at=at, history=told(record, "expired", at))


def retry(record: QueuedTaskRecord, *, at: datetime) -> QueuedTaskRecord:
    """
    Retry a record by hand: due at once, with its whole retry budget. IllegalMoveError if it has completed or not ended.

    A record that has predecessors and was never started waits for them again.
    """
    if not record.has_ended or record.status is TaskStatus.COMPLETED:
        reason = "it has completed" if record.has_ended else "it has not ended"
        raise IllegalMoveError(record.id, record.status, "be retried", reason)
    return _wait(
        record,
        at,
        history=told(record, RETRIED_BY_HAND, at),
        retry_count=0,
        losses=0,
        finished_at=None,
        expires_at=None,
        blocked=record.after is not None and not record.attempt,
    )


def unblock(record: QueuedTaskRecord, *, incomplete: Sequence[UUID], at: datetime) -> QueuedTaskRecord:
    """
    Unblock a record whose predecessors have all ended; *incomplete* are those that did not complete.

    The record becomes claimable at its time, or is cancelled if its policy says so and a predecessor is incomplete.
    """
    if incomplete and record.after is not None and record.after.on_failure is AfterFailure.CANCEL:
        message = f"It comes after {', '.join(map(str, incomplete))}, which did not complete."
        return cancel(record, at=at, failure=TaskFailure(type="PredecessorFailed", message=message))
    return _move(record, TaskStatus.PENDING, blocked=False)


def note(record: QueuedTaskRecord, *, message: str, at: datetime) -> QueuedTaskRecord:
    """Keep a line of a running task's log; its owner stays the same."""
    return replace(record, history=told(record, LOG, at, message=message))


def amend(record: QueuedTaskRecord, *, to: QueuedTaskRecord, reschedule: bool) -> QueuedTaskRecord:
    """Give a pending record the arguments, priority and metadata of *to*, and its times if *reschedule* is true."""
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
    """Whether a record may be started by its id, whatever its queue and its time; a blocked record may not."""
    if record.status is TaskStatus.PENDING and (record.blocked or record.cancel_requested):
        return False
    return TaskStatus.RUNNING in MOVES[record.status] and not is_overdue(record, at=at)


def can_be_amended(record: QueuedTaskRecord, *, to: QueuedTaskRecord) -> bool:
    """Whether a record was never started, so that it can take what another call of its task asks for."""
    return (
        record.status is TaskStatus.PENDING
        and not record.attempt
        and not record.cancel_requested
        and record.task_name == to.task_name
        and not is_overdue(record, at=to.created_at)
    )


def holds_key(record: QueuedTaskRecord, *, at: datetime) -> bool:
    """Whether no second record with the key of this one may be enqueued."""
    return record.key is not None and not record.key_released and not has_lapsed(record, at=at)


def has_lapsed(record: QueuedTaskRecord, *, at: datetime) -> bool:
    """Whether another record may take the key: its window is over, or without a window, the record is overdue."""
    return is_overdue(record, at=at) if record.key_until is None else record.key_until <= at


def release_key(record: QueuedTaskRecord) -> QueuedTaskRecord:
    """Take the key from a record that has lapsed; its owner stays the same."""
    return replace(record, key_released=True)


def _start(record: QueuedTaskRecord, to: TaskStatus, at: datetime, **changes: object) -> QueuedTaskRecord:
    _check_move(record, to)
    return replace(
        record,
        status=to,
        epoch=record.epoch + 1,
        started_at=at,
        finished_at=None,
        progress=None,
        key_released=record.key_released or record.key_scope is KeyScope.STARTED,
        **changes,
    )


def _wait(record: QueuedTaskRecord, at: datetime, delay: float = 0.0, **changes: object) -> QueuedTaskRecord:
    if record.status is TaskStatus.PENDING:
        raise IllegalMoveError(record.id, record.status, "be put back", "it waits already")
    usual = {
        "scheduled_at": at + timedelta(seconds=delay),
        "expires_at": None if record.attempt else record.expires_at,  # It was started in time.
        "worker_id": None,
        "execution_ref": None,
        "blocked": False,
    }
    return _move(record, TaskStatus.PENDING, **{**usual, **changes})


def _fail(record: QueuedTaskRecord, failure: TaskFailure, at: datetime) -> QueuedTaskRecord:
    return _end(record, TaskStatus.FAILED, at=at, error=failure, history=told(record, "failed", at, failure))


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


def _move(record: QueuedTaskRecord, to: TaskStatus, **changes: object) -> QueuedTaskRecord:
    _check_move(record, to)
    return replace(record, status=to, epoch=record.epoch + 1, **changes)


def _check_move(record: QueuedTaskRecord, to: TaskStatus) -> None:
    allowed = MOVES[record.status]
    if to not in allowed:
        reason = f"it may become {' or '.join(allowed)}" if allowed else "it has ended"
        raise IllegalMoveError(record.id, record.status, f"become {to}", reason)
