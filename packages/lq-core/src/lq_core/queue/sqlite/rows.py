"""
Rows of the SQLite file, written and read: moments are integers of microseconds, ids are 16 bytes, the rest is JSON.

The order is that of the columns in the migrations and of the parameters in ``write_statements.py``. A bool is written
as 0 or 1, because ``sqlite3`` looks for an adapter for every bool, which takes longer than the rest of the row.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, TypeAlias
from uuid import UUID

from msgspec import json
from msgspec.structs import replace

from lq_core.queue.columns import WRITE, Columns, Write, to_text
from lq_core.queue.json_values import Nested, RowReader, read_limits, record_from
from lq_core.queue.messages import QueueState, Swap, WorkerInfo
from lq_core.records.record import FAIRNESS_KEY, QueuedTaskRecord, TaskStatus

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
    """Turn an aware moment into whole microseconds since 1970."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def to_moment(microseconds: int) -> datetime:
    """Turn microseconds since 1970 into an aware moment in UTC."""
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
    """Whether INSERT_PLAIN stores the whole record, because it has no past and no rare options."""
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
        None if record.finished_at is None else to_microseconds(record.finished_at),
        to_text(record.progress),
        record.result,
        to_text(record.error),
        to_text(record.history or None),
        record.id.bytes,
        swap.epoch,
    )


def to_amendment(swap: Swap, *, at: datetime) -> Row:
    """Make the values of AMEND."""
    record = swap.record
    return (*_AMENDED.row(record), _ready_again(record, at), record.id.bytes, swap.epoch, int(record.key_released))


def to_swap(swap: Swap, *, at: datetime) -> Row:
    """Make the values of SWAP."""
    record = swap.record
    held = (int(record.has_ended), int(record.key_released), int(not record.key_released))
    return (*_SWAPPED.row(record), _ready_again(record, at), *held, record.id.bytes, swap.epoch)


def to_worker(worker: WorkerInfo, *, at: datetime) -> Row:
    """Make the values of REGISTER, for a worker that is seen at this moment."""
    names = to_text(worker.queues), to_text(worker.execution_backends)
    return (worker.id, *names, worker.concurrency, to_microseconds(worker.started_at), to_microseconds(at))


def to_state(queue: str, state: QueueState) -> Row:
    """Make the values of SET_QUEUE."""
    draining = None if state.draining is None else to_microseconds(state.draining)
    return (queue, int(state.paused), to_text(state.limits), draining)


_names: Final = json.Decoder(tuple[str, ...]).decode


def from_worker(row: Row) -> WorkerInfo:
    """Read a row of WORKERS."""
    id_, queues, execution_backends, concurrency, started_at, seen_at = row
    return WorkerInfo(
        id=id_,
        queues=None if queues is None else _names(queues),
        execution_backends=_names(execution_backends),
        concurrency=concurrency,
        started_at=to_moment(started_at),
        seen_at=to_moment(seen_at),
    )


def from_state(row: Row) -> tuple[str, QueueState]:
    """Read the name and the state of a queue from a row of QUEUES."""
    name, paused, limits, draining = row
    until = None if draining is None else to_moment(draining)
    return name, QueueState(paused=paused != 0, limits=read_limits(limits), draining=until)


def _from_row(row: Row, nested: Nested) -> QueuedTaskRecord:
    columns: dict[str, Any] = dict(zip(COLUMNS, row, strict=False))  # The columns after these are for the indexes.
    columns["id"] = UUID(bytes=columns["id"])
    for name in MOMENTS:
        if columns[name] is not None:
            columns[name] = to_moment(columns[name])
    for name in TRUTHS:
        columns[name] = columns[name] != 0
    return record_from(columns, nested)


def _from_rest(row: Row, like: QueuedTaskRecord) -> QueuedTaskRecord:
    return replace(
        like,
        id=UUID(bytes=row[0]),
        arguments=row[2],
        metadata=dict(like.metadata),
        created_at=to_moment(row[15]),
        scheduled_at=to_moment(row[16]),
    )


def _common(row: Row) -> object:
    return row[1], row[3:15], row[17:]


FROM_ROW: Final = RowReader(_from_row, _common, _from_rest)
"""Reads what ``SELECT *`` finds."""


def _ready(record: QueuedTaskRecord, at: datetime) -> int | None:
    waits = record.status is TaskStatus.PENDING and not record.blocked
    return int(record.scheduled_at <= at) if waits else None


def _ready_again(record: QueuedTaskRecord, at: datetime) -> int | None:
    """As for a new record, but with a fairness key, the next claim makes it ready and gives it a turn."""
    ready = _ready(record, at)
    return 0 if ready and record.metadata and FAIRNESS_KEY in record.metadata else ready
