"""What the reading connection answers; it sees what the writer has committed, and never keeps it waiting."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from lq_core.queue.columns import to_text
from lq_core.queue.messages import Freed, QueueState, RecordFilter, Statistics, WorkerInfo
from lq_core.queue.nested import predecessors_in, read_rows
from lq_core.queue.sqlite import limiting
from lq_core.queue.sqlite import statements as sql
from lq_core.queue.sqlite.from_rows import FROM_ROW, from_state, from_worker
from lq_core.queue.sqlite.lanes import queues_of
from lq_core.queue.sqlite.rows import to_microseconds, to_moment
from lq_core.record import TERMINAL, QueuedTaskRecord, TaskStatus

_AFTER_ALL: Final = b"\xff" * 17

FEW: Final = 2000
"""How many records of the statuses that are looked for may be read and sorted; more are met soon by walking."""


def get_many(connection: sqlite3.Connection, ids: Sequence[UUID]) -> list[QueuedTaskRecord]:
    """Read the records that exist."""
    rows = (connection.execute(sql.GET, (record_id.bytes,)).fetchone() for record_id in dict.fromkeys(ids))
    return read_rows((row for row in rows if row is not None), FROM_ROW)


def find(
    connection: sqlite3.Connection, condition: RecordFilter, *, limit: int, before: UUID | None, after: UUID | None
) -> list[QueuedTaskRecord]:
    """Read one page of the records that match."""
    values = {
        "before": _AFTER_ALL if before is None else before.bytes,
        "after": b"" if after is None else after.bytes,
        "oldest_first": after is not None,
        "limit": limit,
        **_values(condition),
    }
    return read_rows(connection.execute(_statement(connection, condition, values), values), FROM_ROW)


def count(connection: sqlite3.Connection, condition: RecordFilter) -> int:
    """Count the records that match."""
    statement = sql.COUNT if condition.statuses is None else sql.COUNT_WITH_STATUS
    (number,) = connection.execute(statement, _values(condition)).fetchone()
    return number


def _values(condition: RecordFilter) -> dict[str, object]:
    return {
        "statuses": to_text(condition.statuses),
        "queues": to_text(condition.queues),
        "task_names": to_text(condition.task_names),
        "execution_backends": to_text(condition.execution_backends),
        "key": condition.key,
        "schedule": condition.schedule,
        "created_after": None if condition.created_after is None else to_microseconds(condition.created_after),
        "created_before": None if condition.created_before is None else to_microseconds(condition.created_before),
        "pending": condition.statuses is not None and TaskStatus.PENDING in condition.statuses,
    }


def statistics(connection: sqlite3.Connection, *, at: datetime) -> Statistics:
    """Count the records, and tell how long the oldest due one has waited."""
    connection.execute(sql.BEGIN_READING)
    try:
        counts: dict[str, dict[TaskStatus, int]] = {}
        for queue, status, count in (*_count_ended(connection), *connection.execute(sql.COUNT_ACTIVE)):
            by_status = counts.setdefault(queue, {})
            by_status[TaskStatus(status)] = by_status.get(TaskStatus(status), 0) + count
        (oldest,) = connection.execute(sql.OLDEST_DUE, {"at": to_microseconds(at)}).fetchone()
    finally:
        connection.execute(sql.ROLLBACK)
    return Statistics(counts=counts, oldest_due=None if oldest is None else to_moment(oldest))


def workers(connection: sqlite3.Connection) -> list[WorkerInfo]:
    """Read the registered workers."""
    return [from_worker(row) for row in connection.execute(sql.WORKERS)]


def overdue(connection: sqlite3.Connection, *, at: datetime, limit: int) -> list[QueuedTaskRecord]:
    """Read pending records whose ``expires_at`` has passed."""
    return read_rows(connection.execute(sql.OVERDUE, {"at": to_microseconds(at), "limit": limit}), FROM_ROW)


def freed(connection: sqlite3.Connection, *, limit: int) -> Freed:
    """Read blocked records of which every one that they come after has ended, or is there no more."""
    waits: dict[UUID, bool] = {}
    free: list[UUID] = []
    blocked = connection.execute(sql.BLOCKED).fetchall()
    for id_, after in blocked:
        before = predecessors_in(after)
        for one in before:
            if one not in waits:
                waits[one] = connection.execute(sql.HAS_NOT_ENDED, (one.bytes,)).fetchone() is not None
        if len(free) < limit and not any(waits[one] for one in before):
            free.append(UUID(bytes=id_))
    return Freed(records=get_many(connection, free), others_wait=len(blocked) > len(free))


def cancel_requests(connection: sqlite3.Connection) -> list[QueuedTaskRecord]:
    """Read every record that has not ended and has been asked to stop."""
    return read_rows(connection.execute(sql.CANCEL_REQUESTS), FROM_ROW)


def queues(connection: sqlite3.Connection) -> dict[str, QueueState]:
    """Read the state of the queues that somebody has set one for."""
    return dict(map(from_state, connection.execute(limiting.QUEUES)))


def _statement(connection: sqlite3.Connection, condition: RecordFilter, values: Mapping[str, object]) -> str:
    if condition.key is not None:
        return sql.FIND_WITH_KEY
    if condition.statuses is not None:
        (count,) = connection.execute(sql.COUNT_FEW, {**values, "few": FEW}).fetchone()
        if count < FEW:
            return sql.FIND_FEW
    return sql.FIND_OLDEST if values["oldest_first"] else sql.FIND_NEWEST


def _count_ended(connection: sqlite3.Connection) -> Iterator[tuple[str, str, int]]:
    for status in TERMINAL:
        for lane in queues_of(connection, sql.NEXT_ENDED_QUEUE, {"status": status.value}):
            (count,) = connection.execute(sql.COUNT_ENDED, lane).fetchone()
            yield lane["queue"], status.value, count
