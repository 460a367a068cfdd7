"""
What is stored, as rows: moments are integers of microseconds, ids are 16 bytes, nested values are JSON.

The order is that of the columns in the migrations and of the parameters in ``statements.py``. Truth is 0 or 1:
``sqlite3`` looks for an adapter for every bool that it is given, which takes longer than the rest of the row.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, TypeAlias

from lq_core.queue.columns import WRITE, Columns, Write, to_text, to_text_or_nothing
from lq_core.queue.messages import QueueState, Swap, WorkerInfo
from lq_core.record import QueuedTaskRecord, TaskStatus

Row: TypeAlias = tuple[Any, ...]

COLUMNS: Final = (
    *("id", "task_name", "arguments"),
    *("queue", "priority", "execution_backend", "execution_profile", "key", "key_released", "retries", "backoff"),
    *("timeout", "expires_at", "schedule", "metadata"),
    *("created_at", "scheduled_at"),
    *("status", "epoch", "attempt", "retry_count", "losses", "worker_id", "execution_ref", "log_url"),
    *("cancel_requested", "started_at", "finished_at", "progress", "result", "error", "history"),
    *("retry_rules", "key_scope", "key_until", "concurrency_key", "limits", "after", "blocked"),
)
"""The columns of a record, in the order of the table."""

MOMENTS: Final = ("created_at", "scheduled_at", "expires_at", "key_until", "started_at", "finished_at")
TRUTHS: Final = ("key_released", "cancel_requested", "blocked")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_microseconds(moment: datetime) -> int:
    """Turn an aware moment into whole microseconds since 1970, exactly."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def to_moment(microseconds: int) -> datetime:
    """Turn microseconds since 1970 into an aware moment in UTC, exactly."""
    return _EPOCH + timedelta(0, 0, microseconds)


_WRITE: Final[Mapping[str, Write]] = {
    **WRITE,
    "id": attrgetter("bytes"),
    **dict.fromkeys(MOMENTS, to_microseconds),
    **dict.fromkeys(TRUTHS, int),
}
_ALL: Final = Columns(*COLUMNS, write=_WRITE)
_SWAPPED: Final = Columns(
    *("status", "epoch", "attempt", "retry_count", "losses", "blocked", "worker_id", "execution_backend"),
    *("execution_profile", "execution_ref", "log_url", "scheduled_at", "expires_at", "started_at", "finished_at"),
    *("progress", "result", "error", "history"),
    write=_WRITE,
)
_AMENDED: Final = Columns(*("epoch", "arguments", "priority", "metadata", "scheduled_at", "expires_at"), write=_WRITE)

_rare: Final = attrgetter(
    *("key", "key_released", "metadata", "expires_at", "backoff", "schedule", "execution_profile", "retry_rules"),
    *("concurrency_key", "limits", "after", "blocked"),
)


def to_row(record: QueuedTaskRecord, *, at: datetime) -> Row:
    """Make the values of INSERT."""
    unique_key = None if record.key_released else record.key
    return (*_ALL.row(record), unique_key, None if record.cancel_requested else _ready(record, at))


def is_plain(record: QueuedTaskRecord) -> bool:
    """Whether a record has no past and none of the rare options, so that INSERT_PLAIN stores it whole."""
    return record.is_untouched and not any(_rare(record))


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


def to_end(swap: Swap) -> Row:
    """Make the values of END."""
    record = swap.record
    return (
        record.status.value,
        record.epoch,
        record.log_url,
        _stamp(record.finished_at),
        to_text(record.progress),
        record.result,
        to_text(record.error),
        to_text_or_nothing(record.history),
        record.id.bytes,
        swap.epoch,
    )


def to_amendment(swap: Swap, *, at: datetime) -> Row:
    """Make the values of AMEND."""
    record = swap.record
    return (*_AMENDED.row(record), _ready(record, at), record.id.bytes, swap.epoch)


def to_swap(swap: Swap, *, at: datetime) -> Row:
    """Make the values of SWAP."""
    record = swap.record
    held = (int(record.has_ended), int(record.key_released), int(not record.key_released))
    return (*_SWAPPED.row(record), _ready(record, at), *held, record.id.bytes, swap.epoch)


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
        "limits": to_text(state.limits),
        "draining": _stamp(state.draining),
    }


def _ready(record: QueuedTaskRecord, at: datetime) -> int | None:
    waits = record.status is TaskStatus.PENDING and not record.blocked
    return int(record.scheduled_at <= at) if waits else None


def _stamp(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)
