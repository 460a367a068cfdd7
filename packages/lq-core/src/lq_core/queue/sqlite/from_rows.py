"""What is stored, read from rows: the other way round than ``rows.py``, by the same order of columns."""

from typing import Any, Final
from uuid import UUID

from msgspec import json
from msgspec.structs import replace

from lq_core.queue.messages import QueueState, WorkerInfo
from lq_core.queue.nested import Nested, RowReader, read_limits, record_from
from lq_core.queue.sqlite.rows import COLUMNS, MOMENTS, TRUTHS, Row, to_moment
from lq_core.record import QueuedTaskRecord

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
    for name in MOMENTS:
        if columns[name] is not None:
            columns[name] = to_moment(columns[name])
    for name in TRUTHS:
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
