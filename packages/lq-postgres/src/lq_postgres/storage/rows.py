"""Records as the parameters of statements, and records read from rows."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache, partial
from operator import attrgetter, itemgetter
from typing import Any, Final
from uuid import UUID

from msgspec import convert
from msgspec.structs import replace

from lq_core.queue.columns import Columns, to_text_or_nothing
from lq_core.queue.json_values import Nested, RowReader, read_rows, record_from
from lq_core.queue.messages import WorkerInfo
from lq_core.records.record import QueuedTaskRecord
from lq_postgres.connection.driver import Row
from lq_postgres.statements.writing import COLUMNS

_OWN: Final = 4
"""The number of columns, from the first one on, that differ between records of the same kind."""

_COMMON: Final = (
    *("task_name", "queue", "priority", "execution_backend", "execution_profile", "key_released", "retries", "backoff"),
    *("timeout", "expires_at", "schedule", "retry_rules", "key_scope", "key_until", "concurrency_key", "limits"),
    *("after", "blocked"),
)
_common: Final = Columns(*_COMMON).row
_shape: Final = attrgetter(*_COMMON, "status", "epoch")
_ALL: Final = Columns(*COLUMNS)


def records_from(rows: Iterable[Row], start: int = 0) -> list[QueuedTaskRecord]:
    """Read records from the columns of rows, from *start* on; damaged rows are read as far as possible."""
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
    columns["id"] = UUID(int=columns["id"].int)  # The driver has a UUID class of its own.
    return record_from(columns, nested)


def are_alike(records: Sequence[QueuedTaskRecord]) -> bool:
    """Whether these are new records that differ only in id, arguments, times, key and metadata."""
    first, *others = records
    shape = _shape(first)
    return first.is_untouched and all(_shape(record) == shape for record in others)


def are_of_one_moment(records: Sequence[QueuedTaskRecord]) -> bool:
    """Whether records that are alike and have no keys differ only in id and arguments."""
    first = records[0]
    created_at, scheduled_at, metadata = first.created_at, first.scheduled_at, first.metadata
    return all(
        r.created_at == created_at and r.scheduled_at == scheduled_at and r.metadata == metadata for r in records
    )


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


def alike_at_once(records: Sequence[QueuedTaskRecord]) -> tuple[object, ...]:
    """Write records of one moment as the parameters $1 to $24 of ``INSERT_ALIKE_AT_ONCE``."""
    ids, arguments = [record.id for record in records], [record.arguments for record in records]
    return (ids, arguments, *alone(records[0])[2:])


def alone(r: QueuedTaskRecord) -> tuple[object, ...]:
    """Write one new record as the parameters of ``INSERT_ONE``."""
    return (r.id, r.arguments, r.created_at, r.scheduled_at, r.key, to_text_or_nothing(r.metadata), *_common(r))


def mixed(records: Sequence[QueuedTaskRecord]) -> tuple[object, ...]:
    """Write any records as the parameters $1 to $39 of ``INSERT_MIXED``."""
    return _ALL.arrays(records)


def order_of_claim(record: QueuedTaskRecord) -> tuple[int, datetime, int]:
    """Give the sort key of claimed records, which the database returns in no order."""
    return (-record.priority, record.scheduled_at, record.id.int)


def worker_from(row: Row) -> WorkerInfo:
    """Read a worker from a row of ``WORKERS``."""
    return convert(dict(zip(WorkerInfo.__struct_fields__, row, strict=True)), WorkerInfo)
