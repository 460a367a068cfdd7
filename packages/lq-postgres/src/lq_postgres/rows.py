"""Between records and rows: which column is which field, and what each looks like in the database."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache, partial
from operator import attrgetter, itemgetter
from typing import Any, Final
from uuid import UUID

from msgspec import convert
from msgspec.structs import replace

from lq_core.queue.columns import Columns, to_text_or_nothing
from lq_core.queue.messages import Swap, WorkerInfo
from lq_core.queue.nested import Nested, RowReader, read_rows, record_from
from lq_core.record import QueuedTaskRecord, TaskStatus
from lq_postgres.driver import Row

COLUMNS: Final = (
    *("id", "arguments", "created_at", "scheduled_at"),
    *("task_name", "queue", "priority", "execution_backend", "execution_profile", "key"),
    *("key_released", "retries", "backoff", "timeout", "expires_at", "schedule", "metadata"),
    *("status", "epoch", "attempt", "retry_count", "losses", "worker_id", "execution_ref", "log_url"),
    *("cancel_requested", "started_at", "finished_at", "progress", "result", "error", "history"),
    *("retry_rules", "key_scope", "key_until", "concurrency_key", "limits", "after", "blocked"),
)
"""The columns of a record, in the order in which statements name them and rows bring them."""

_OWN: Final = 4
"""How many of them, at the beginning, hold what even calls that are enqueued together have for themselves."""

_COMMON: Final = (
    *("task_name", "queue", "priority", "execution_backend", "execution_profile", "key_released", "retries", "backoff"),
    *("timeout", "expires_at", "schedule", "retry_rules", "key_scope", "key_until", "concurrency_key", "limits"),
    *("after", "blocked"),
)
_common: Final = Columns(*_COMMON).row
_shape: Final = attrgetter(*_COMMON, "status", "epoch")

_MIXED: Final = Columns(
    *("id", "task_name", "arguments", "queue", "priority", "execution_backend", "execution_profile", "key"),
    *("key_released", "retries", "backoff", "timeout", "expires_at", "schedule", "metadata", "created_at"),
    *("scheduled_at", "status", "epoch", "attempt", "retry_count", "losses", "worker_id", "execution_ref", "log_url"),
    *("cancel_requested", "started_at", "finished_at", "progress", "result", "error", "history", "retry_rules"),
    *("key_scope", "key_until", "concurrency_key", "limits", "after", "blocked"),
)
_SWAPPED: Final = Columns(
    *("status", "epoch", "attempt", "retry_count", "losses", "key_released", "worker_id", "execution_backend"),
    *("execution_profile", "execution_ref", "log_url", "scheduled_at", "expires_at", "started_at", "finished_at"),
    *("progress", "result", "error", "history", "blocked"),
)
_AMENDED: Final = Columns("epoch", "arguments", "priority", "metadata", "scheduled_at", "expires_at")


def records_from(rows: Iterable[Row], start: int = 0) -> list[QueuedTaskRecord]:
    """Read records from the columns of rows, from *start* on; of a damaged row, what can be read."""
    return read_rows(rows, _reader(start))


@cache
def _reader(start: int) -> RowReader:
    return RowReader(
        partial(_record_from, start=start),
        itemgetter(slice(start + _OWN, None)),
        partial(_record_from_rest, start=start),
    )


def _record_from_rest(row: Row, like: QueuedTaskRecord, *, start: int) -> QueuedTaskRecord:
    id_, arguments, created_at, scheduled_at = row[start : start + _OWN]
    return replace(
        like,
        id=UUID(int=id_.int),
        arguments=arguments,
        metadata=dict(like.metadata),
        created_at=created_at,
        scheduled_at=scheduled_at,
    )


def _record_from(row: Row, nested: Nested, *, start: int) -> QueuedTaskRecord:
    columns: dict[str, Any] = dict(zip(COLUMNS, row[start:], strict=True))
    columns["id"] = UUID(int=columns["id"].int)  # The driver's own class of UUID stays here.
    return record_from(columns, nested)


def are_alike(records: Sequence[QueuedTaskRecord]) -> bool:
    """Whether these are new records that differ in id, arguments, times, key and metadata alone."""
    first, *others = records
    shape = _shape(first)
    return first.is_untouched and all(_shape(record) == shape for record in others)


def alike(records: Sequence[QueuedTaskRecord]) -> tuple[object, ...]:
    """Write records that are alike as the parameters $1 to $24 of ``INSERT_ALIKE``."""
    return (
        [record.id for record in records],
        [record.arguments for record in records],
        [record.created_at for record in records],
        [record.scheduled_at for record in records],
        [record.key for record in records],
        [to_text_or_nothing(record.metadata) for record in records],
        *_common(records[0]),
    )


def are_of_one_moment(records: Sequence[QueuedTaskRecord]) -> bool:
    """Whether records that are alike have no keys, and differ in id and arguments alone."""
    first = records[0]
    created_at, scheduled_at, metadata = first.created_at, first.scheduled_at, first.metadata
    return all(
        r.created_at == created_at and r.scheduled_at == scheduled_at and r.metadata == metadata and r.key is None
        for r in records
    )


def alike_at_once(records: Sequence[QueuedTaskRecord]) -> tuple[object, ...]:
    """Write such records as the parameters $1 to $24 of ``INSERT_ALIKE_AT_ONCE``."""
    ids, arguments = [record.id for record in records], [record.arguments for record in records]
    return (ids, arguments, *alone(records[0])[2:])


def alone(r: QueuedTaskRecord) -> tuple[object, ...]:
    """Write one record that is new as the parameters of ``INSERT_ONE``."""
    return (r.id, r.arguments, r.created_at, r.scheduled_at, r.key, to_text_or_nothing(r.metadata), *_common(r))


def mixed(records: Sequence[QueuedTaskRecord]) -> tuple[object, ...]:
    """Write any records as the parameters $1 to $39 of ``INSERT_MIXED``."""
    return _MIXED.arrays(records)


def are_completions(swaps: Sequence[Swap]) -> bool:
    """Whether these swaps end records well, with nothing to tell but the result."""
    return all(
        r.status is TaskStatus.COMPLETED
        and r.epoch == swap.epoch + 1
        and not r.history
        and r.error is None
        and r.progress is None
        and r.log_url is None
        and r.key_released
        and r.worker_id is None
        and r.execution_ref is None
        for swap in swaps
        for r in (swap.record,)
    )


def completions(swaps: Sequence[Swap]) -> tuple[object, ...]:
    """Write such swaps as the parameters $12 to $15 of ``COMPLETE``."""
    return (
        [swap.record.id for swap in swaps],
        [swap.epoch for swap in swaps],
        [swap.record.result for swap in swaps],
        [swap.record.finished_at for swap in swaps],
    )


def amended(swaps: Sequence[Swap]) -> tuple[object, ...]:
    """Write such swaps as the parameters $1 to $8 of ``AMEND``."""
    return _ids_and_epochs(swaps) + _AMENDED.arrays(swap.record for swap in swaps)


def swapped(swaps: Sequence[Swap]) -> tuple[object, ...]:
    """Write any swaps as the parameters $12 to $33 of ``SETTLE``."""
    return _ids_and_epochs(swaps) + _SWAPPED.arrays(swap.record for swap in swaps)


def _ids_and_epochs(swaps: Sequence[Swap]) -> tuple[object, ...]:
    return [swap.record.id for swap in swaps], [swap.epoch for swap in swaps]


def order_of_claim(record: QueuedTaskRecord) -> tuple[int, datetime, int]:
    """Sort claimed records by this: the database brings them in no order."""
    return (-record.priority, record.scheduled_at, record.id.int)


def worker_from(row: Row) -> WorkerInfo:
    """Read a worker from a row of ``WORKERS``."""
    return convert(dict(zip(WorkerInfo.__struct_fields__, row, strict=True)), WorkerInfo)
