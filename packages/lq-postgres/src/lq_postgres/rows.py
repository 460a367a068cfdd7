"""Between records and rows: which column is which field, and what each looks like in the database."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache, partial
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from msgspec import json
from msgspec.structs import replace

from lq_core.queue.messages import Swap, WorkerInfo
from lq_core.queue.nested import Nested, RowReader, read_rows
from lq_core.record import KeyScope, QueuedTaskRecord, TaskStatus
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

_STATUS: Final = {str(status): status for status in TaskStatus}
_SCOPE: Final = {str(scope): scope for scope in KeyScope}
_ENCODE: Final = json.encode


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
    (
        id_,
        arguments,
        created_at,
        scheduled_at,
        task_name,
        queue,
        priority,
        execution_backend,
        execution_profile,
        key,
        key_released,
        retries,
        backoff,
        timeout,
        expires_at,
        schedule,
        metadata,
        status,
        epoch,
        attempt,
        retry_count,
        losses,
        worker_id,
        execution_ref,
        log_url,
        cancel_requested,
        started_at,
        finished_at,
        progress,
        result,
        error,
        history,
        retry_rules,
        key_scope,
        key_until,
        concurrency_key,
        limits,
        after,
        blocked,
    ) = row[start:]
    return QueuedTaskRecord(
        id=UUID(int=id_.int),  # The driver's own class of UUID stays here.
        task_name=task_name,
        arguments=arguments,
        queue=queue,
        priority=priority,
        execution_backend=execution_backend,
        execution_profile=execution_profile,
        key=key,
        key_released=key_released,
        key_scope=_SCOPE[key_scope],
        key_until=key_until,
        retries=retries,
        backoff=None if backoff is None else nested.backoff(backoff),
        retry_rules=None if retry_rules is None else nested.retry_rules(retry_rules),
        timeout=timeout,
        expires_at=expires_at,
        schedule=schedule,
        concurrency_key=concurrency_key,
        limits=None if limits is None else nested.limits(limits),
        after=None if after is None else nested.after(after),
        blocked=blocked,
        metadata={} if metadata is None else nested.metadata(metadata),
        created_at=created_at,
        scheduled_at=scheduled_at,
        status=_STATUS[status],
        epoch=epoch,
        attempt=attempt,
        retry_count=retry_count,
        losses=losses,
        worker_id=worker_id,
        execution_ref=execution_ref,
        log_url=log_url,
        cancel_requested=cancel_requested,
        started_at=started_at,
        finished_at=finished_at,
        progress=None if progress is None else nested.progress(progress),
        result=result,
        error=None if error is None else nested.error(error),
        history=() if history is None else nested.history(history),
    )


def are_alike(records: Sequence[QueuedTaskRecord]) -> bool:
    """Whether these are new records that differ in id, arguments, times, key and metadata alone."""
    first = records[0]
    return (
        first.status is TaskStatus.PENDING
        and first.epoch == first.attempt == first.retry_count == first.losses == 0
        and not first.history
        and not first.cancel_requested
        and first.error is None
        and first.result is None
        and first.progress is None
        and first.finished_at is None
        and first.started_at is None
        and first.worker_id is None
        and first.execution_ref is None
        and first.log_url is None
        and (len(records) == 1 or _have_one_shape(records))
    )


def alike(records: Sequence[QueuedTaskRecord]) -> tuple[object, ...]:
    """Write records that are alike as the parameters $1 to $24 of ``INSERT_ALIKE``."""
    return (
        [record.id for record in records],
        [record.arguments for record in records],
        [record.created_at for record in records],
        [record.scheduled_at for record in records],
        [record.key for record in records],
        [_text(record.metadata or None) for record in records],
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
    return (r.id, r.arguments, r.created_at, r.scheduled_at, r.key, _text(r.metadata or None), *_common(r))


def _common(r: QueuedTaskRecord) -> tuple[object, ...]:
    return (
        r.task_name,
        r.queue,
        r.priority,
        r.execution_backend,
        r.execution_profile,
        r.key_released,
        r.retries,
        _text(r.backoff),
        r.timeout,
        r.expires_at,
        r.schedule,
        _text(r.retry_rules),
        r.key_scope.value,
        r.key_until,
        r.concurrency_key,
        _text(r.limits),
        _text(r.after),
        r.blocked,
    )


def mixed(records: Sequence[QueuedTaskRecord]) -> tuple[object, ...]:
    """Write any records as the parameters $1 to $39 of ``INSERT_MIXED``."""
    rows = [
        (
            *(r.id, r.task_name, r.arguments, r.queue, r.priority, r.execution_backend, r.execution_profile, r.key),
            *(r.key_released, r.retries, _text(r.backoff), r.timeout, r.expires_at, r.schedule),
            *(_text(r.metadata or None), r.created_at, r.scheduled_at, r.status.value, r.epoch, r.attempt),
            *(r.retry_count, r.losses, r.worker_id, r.execution_ref, r.log_url, r.cancel_requested, r.started_at),
            *(r.finished_at, _text(r.progress), r.result, _text(r.error), _text(r.history or None)),
            *(_text(r.retry_rules), r.key_scope.value, r.key_until, r.concurrency_key, _text(r.limits)),
            *(_text(r.after), r.blocked),
        )
        for r in records
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))


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
    rows = [
        (
            *(r.id, swap.epoch, r.epoch, r.arguments, r.priority, _text(r.metadata or None)),
            *(r.scheduled_at, r.expires_at),
        )
        for swap in swaps
        for r in (swap.record,)
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))


def swapped(swaps: Sequence[Swap]) -> tuple[object, ...]:
    """Write any swaps as the parameters $12 to $33 of ``SETTLE``."""
    rows = [
        (
            *(r.id, swap.epoch, r.status.value, r.epoch, r.attempt, r.retry_count, r.losses, r.key_released),
            *(r.worker_id, r.execution_backend, r.execution_profile, r.execution_ref, r.log_url, r.scheduled_at),
            *(r.expires_at, r.started_at, r.finished_at, _text(r.progress), r.result, _text(r.error)),
            *(_text(r.history or None), r.blocked),
        )
        for swap in swaps
        for r in (swap.record,)
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))


def _text(value: object) -> str | None:
    return None if value is None else _ENCODE(value).decode()


def _have_one_shape(records: Sequence[QueuedTaskRecord]) -> bool:
    shape = _shape(records[0])
    return all(_shape(record) == shape for record in records)


def _shape(r: QueuedTaskRecord) -> tuple[Any, ...]:
    return (
        *(r.task_name, r.queue, r.priority, r.execution_backend, r.execution_profile, r.key_released, r.retries),
        *(r.backoff, r.timeout, r.expires_at, r.schedule, r.status, r.epoch),
        *(r.retry_rules, r.key_scope, r.key_until, r.concurrency_key, r.limits, r.after, r.blocked),
    )


def order_of_claim(record: QueuedTaskRecord) -> tuple[int, datetime, int]:
    """Sort claimed records by this: the database brings them in no order."""
    return (-record.priority, record.scheduled_at, record.id.int)


def worker_from(row: Row) -> WorkerInfo:
    """Read a worker from a row of ``WORKERS``."""
    id_, queues, execution_backends, concurrency, started_at, seen_at = row
    return WorkerInfo(
        id=id_,
        queues=None if queues is None else tuple(queues),
        execution_backends=tuple(execution_backends),
        concurrency=concurrency,
        started_at=started_at,
        seen_at=seen_at,
    )
