"""What is stored, read from rows: the other way round than ``rows.py``, by the same order of columns."""

from typing import Any, Final
from uuid import UUID

from msgspec import json
from msgspec.structs import replace

from lq_core.queue.messages import QueueState, WorkerInfo
from lq_core.queue.nested import Nested, RowReader, read_limits, record_from
from lq_core.queue.sqlite.rows import Row, to_moment
from lq_core.record import QueuedTaskRecord

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

_MOMENTS: Final = ("created_at", "scheduled_at", "expires_at", "key_until", "started_at", "finished_at")
_TRUTHS: Final = ("key_released", "cancel_requested", "blocked")
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
    columns: dict[str, Any] = dict(zip(COLUMNS, row, strict=False))  # What follows is for the indexes.
    columns["id"] = UUID(bytes=columns["id"])
    for name in _MOMENTS:
        if columns[name] is not None:
            columns[name] = to_moment(columns[name])
    for name in _TRUTHS:
        columns[name] = columns[name] != 0
    return record_from(columns, nested)


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
