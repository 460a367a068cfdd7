"""
What is stored, as rows: moments are integers of microseconds, ids are 16 bytes, nested values are JSON.

The order is that of the columns in the migrations and of the parameters in ``statements.py``. Truth is 0 or 1:
``sqlite3`` looks for an adapter for every bool that it is given, which takes longer than the rest of the row.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from msgspec import json

from lq_core.queue.messages import QueueState, Swap, WorkerInfo
from lq_core.record import QueuedTaskRecord, TaskStatus

Row: TypeAlias = tuple[Any, ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = json.Encoder().encode


def to_microseconds(moment: datetime) -> int:
    """Turn an aware moment into whole microseconds since 1970, exactly."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def to_moment(microseconds: int) -> datetime:
    """Turn microseconds since 1970 into an aware moment in UTC, exactly."""
    return _EPOCH + timedelta(0, 0, microseconds)


def to_row(record: QueuedTaskRecord, *, at: datetime) -> Row:
    """Make the values of INSERT."""
    return (
        record.id.bytes,
        record.task_name,
        record.arguments,
        record.queue,
        record.priority,
        record.execution_backend,
        record.execution_profile,
        record.key,
        int(record.key_released),
        record.retries,
        _text(record.backoff),
        record.timeout,
        _stamp(record.expires_at),
        record.schedule,
        _text(record.metadata or None),
        to_microseconds(record.created_at),
        to_microseconds(record.scheduled_at),
        record.status.value,
        record.epoch,
        record.attempt,
        record.retry_count,
        record.losses,
        record.worker_id,
        record.execution_ref,
        record.log_url,
        int(record.cancel_requested),
        _stamp(record.started_at),
        _stamp(record.finished_at),
        _text(record.progress),
        record.result,
        _text(record.error),
        _text(record.history or None),
        _text(record.retry_rules),
        record.key_scope.value,
        _stamp(record.key_until),
        record.concurrency_key,
        _text(record.limits),
        _text(record.after),
        int(record.blocked),
        None if record.key_released else record.key,
        None if record.cancel_requested else _ready(record, at),
    )


def is_new(record: QueuedTaskRecord) -> bool:
    """Whether INSERT_NEW stores a record whole."""
    return record.is_untouched and not record.key_released


def is_plain(record: QueuedTaskRecord) -> bool:
    """Whether a new record has none of the rare options, so that INSERT_PLAIN stores it whole."""
    return (
        record.key is None
        and not record.metadata
        and record.expires_at is None
        and record.backoff is None
        and record.schedule is None
        and record.execution_profile is None
        and record.retry_rules is None
        and record.concurrency_key is None
        and record.limits is None
        and record.after is None
        and not record.blocked
    )


def to_plain_row(record: QueuedTaskRecord, *, at: datetime) -> Row:
    """Make the values of INSERT_PLAIN."""
    return (
        record.id.bytes,
        record.task_name,
        record.arguments,
        record.queue,
        record.priority,
        record.execution_backend,
        record.retries,
        record.timeout,
        to_microseconds(record.created_at),
        to_microseconds(record.scheduled_at),
        int(record.scheduled_at <= at),
    )


def to_new_row(record: QueuedTaskRecord, *, at: datetime) -> Row:
    """Make the values of INSERT_NEW."""
    key, expires_at, backoff = record.key, record.expires_at, record.backoff
    return (
        record.id.bytes,
        record.task_name,
        record.arguments,
        record.queue,
        record.priority,
        record.execution_backend,
        record.execution_profile,
        key,
        record.retries,
        backoff and _text(backoff),
        record.timeout,
        expires_at and to_microseconds(expires_at),
        record.schedule,
        _text(record.metadata) if record.metadata else None,
        to_microseconds(record.created_at),
        to_microseconds(record.scheduled_at),
        _text(record.retry_rules),
        record.key_scope.value,
        _stamp(record.key_until),
        record.concurrency_key,
        _text(record.limits),
        _text(record.after),
        int(record.blocked),
        key,
        _ready(record, at),
    )


def to_end(swap: Swap) -> Row:
    """Make the values of END."""
    record = swap.record
    return (
        record.status.value,
        record.epoch,
        record.log_url,
        _stamp(record.finished_at),
        _text(record.progress),
        record.result,
        _text(record.error),
        _text(record.history or None),
        record.id.bytes,
        swap.epoch,
    )


def to_amendment(swap: Swap, *, at: datetime) -> Row:
    """Make the values of AMEND."""
    record = swap.record
    return (
        record.epoch,
        record.arguments,
        record.priority,
        _text(record.metadata or None),
        to_microseconds(record.scheduled_at),
        _stamp(record.expires_at),
        _ready(record, at),
        record.id.bytes,
        swap.epoch,
    )


def to_swap(swap: Swap, *, at: datetime) -> Row:
    """Make the values of SWAP."""
    record = swap.record
    return (
        record.status.value,
        record.epoch,
        _ready(record, at),
        int(record.has_ended),
        int(record.key_released),
        int(not record.key_released),
        int(record.blocked),
        record.worker_id,
        record.execution_backend,
        record.execution_profile,
        record.execution_ref,
        record.log_url,
        to_microseconds(record.scheduled_at),
        _stamp(record.expires_at),
        _stamp(record.started_at),
        _stamp(record.finished_at),
        record.attempt,
        record.retry_count,
        record.losses,
        _text(record.progress),
        record.result,
        _text(record.error),
        _text(record.history or None),
        record.id.bytes,
        swap.epoch,
    )


def to_worker(worker: WorkerInfo, *, at: datetime) -> dict[str, str | int | None]:
    """Make the values of REGISTER: a worker that is seen at this moment."""
    return {
        "id": worker.id,
        "queues": to_text(worker.queues),
        "execution_backends": to_text(worker.execution_backends),
        "concurrency": worker.concurrency,
        "started_at": to_microseconds(worker.started_at),
        "seen_at": to_microseconds(at),
    }


def to_state(queue: str, state: QueueState) -> dict[str, str | int | None]:
    """Make the values of SET_QUEUE."""
    return {
        "name": queue,
        "paused": int(state.paused),
        "limits": _text(state.limits),
        "draining": _stamp(state.draining),
    }


def to_text(values: Sequence[str | int] | None) -> str | None:
    """Make the JSON array that a statement unfolds with ``json_each``; None for None."""
    return _text(values)


def _ready(record: QueuedTaskRecord, at: datetime) -> int | None:
    waits = record.status is TaskStatus.PENDING and not record.blocked
    return int(record.scheduled_at <= at) if waits else None


def _stamp(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)


def _text(value: object) -> str | None:
    return None if value is None else _encode(value).decode()
