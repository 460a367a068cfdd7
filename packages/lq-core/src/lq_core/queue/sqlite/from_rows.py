"""What is stored, read from rows: the other way round than ``rows.py``, by the same order of columns."""

from typing import Final
from uuid import UUID

from msgspec import json
from msgspec.structs import replace

from lq_core.queue.messages import QueueState, WorkerInfo
from lq_core.queue.nested import Nested, RowReader, read_limits
from lq_core.queue.sqlite.rows import Row, to_moment
from lq_core.record import KeyScope, QueuedTaskRecord, TaskStatus

_STATUSES: Final = {status.value: status for status in TaskStatus}
_SCOPES: Final = {scope.value: scope for scope in KeyScope}
_names: Final = json.Decoder(tuple[str, ...]).decode


def from_worker(row: Row) -> WorkerInfo:
    """Make the worker of a row of WORKERS."""
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
    """Make the name and the state of a row of QUEUES."""
    name, paused, limits, draining = row
    return name, QueueState(
        paused=paused != 0,
        limits=read_limits(limits),
        draining=None if draining is None else to_moment(draining),
    )


def _from_row(row: Row, nested: Nested) -> QueuedTaskRecord:
    (
        id_,
        task_name,
        arguments,
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
        created_at,
        scheduled_at,
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
        *_,
    ) = row
    created = to_moment(created_at)
    return QueuedTaskRecord(
        id=UUID(bytes=id_),
        task_name=task_name,
        arguments=arguments,
        queue=queue,
        priority=priority,
        execution_backend=execution_backend,
        execution_profile=execution_profile,
        key=key,
        key_released=key_released != 0,
        key_scope=_SCOPES[key_scope],
        key_until=None if key_until is None else to_moment(key_until),
        retries=retries,
        backoff=None if backoff is None else nested.backoff(backoff),
        retry_rules=None if retry_rules is None else nested.retry_rules(retry_rules),
        timeout=timeout,
        expires_at=None if expires_at is None else to_moment(expires_at),
        schedule=schedule,
        concurrency_key=concurrency_key,
        limits=None if limits is None else nested.limits(limits),
        after=None if after is None else nested.after(after),
        blocked=blocked != 0,
        metadata={} if metadata is None else nested.metadata(metadata),
        created_at=created,
        scheduled_at=created if scheduled_at == created_at else to_moment(scheduled_at),
        status=_STATUSES[status],
        epoch=epoch,
        attempt=attempt,
        retry_count=retry_count,
        losses=losses,
        worker_id=worker_id,
        execution_ref=execution_ref,
        log_url=log_url,
        cancel_requested=cancel_requested != 0,
        started_at=None if started_at is None else to_moment(started_at),
        finished_at=None if finished_at is None else to_moment(finished_at),
        progress=None if progress is None else nested.progress(progress),
        result=result,
        error=None if error is None else nested.error(error),
        history=() if history is None else nested.history(history),
    )


def _common(row: Row) -> object:
    return row[1], row[3:15], row[17:]


def _from_rest(row: Row, like: QueuedTaskRecord) -> QueuedTaskRecord:
    return replace(
        like,
        id=UUID(bytes=row[0]),
        arguments=row[2],
        metadata=dict(like.metadata),
        created_at=to_moment(row[15]),
        scheduled_at=to_moment(row[16]),
    )


FROM_ROW: Final = RowReader(_from_row, _common, _from_rest)
"""Reads what ``SELECT *`` has found."""
