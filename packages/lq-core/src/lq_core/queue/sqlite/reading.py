"""What the reading connection answers. It sees what the writer has committed, and never blocks the writer."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

from lq_core.queue.columns import to_text
from lq_core.queue.json_values import predecessors_in, read_rows, schedules_from
from lq_core.queue.messages import DueRecords, QueueState, RecordFilter, Statistics, Unblocked, WorkerInfo
from lq_core.queue.search import Words
from lq_core.queue.sqlite import read_statements as queries
from lq_core.queue.sqlite import write_statements as sql
from lq_core.queue.sqlite.partitions import queues_of
from lq_core.queue.sqlite.rows import FROM_ROW, from_state, from_worker, to_microseconds, to_moment
from lq_core.records.record import TERMINAL, QueuedTaskRecord, TaskStatus
from lq_core.schedules.schedule_state import ScheduleState

_AFTER_ALL: Final = b"\xff" * 17

FEW: Final = 2000
"""Up to this number, records of the wanted statuses are read and sorted; a walk finds a larger number faster."""

MANY: Final = 50_000
"""From this number on, records of the wanted statuses are always found by a walk."""

WALKED: Final = 20_000
"""A walk ends after this many records, since those with the wanted statuses may all be old."""

NOT_COMPLETED: Final = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED})
"""The statuses that have an index in the order of ids."""


def records(
    connection: sqlite3.Connection, statement: str, values: Mapping[str, object] | None = None
) -> list[QueuedTaskRecord]:
    """Read the records that a statement finds."""
    return read_rows(connection.execute(statement, values or {}), FROM_ROW)


def get_many(connection: sqlite3.Connection, ids: Sequence[UUID]) -> list[QueuedTaskRecord]:
    """Read the records that exist."""
    rows = (connection.execute(queries.GET, (record_id.bytes,)).fetchone() for record_id in dict.fromkeys(ids))
    return read_rows((row for row in rows if row is not None), FROM_ROW)


def find(
    connection: sqlite3.Connection, condition: RecordFilter, *, limit: int, before: UUID | None, after: UUID | None
) -> list[QueuedTaskRecord]:
    """Read one page of the records that match."""
    values: dict[str, Any] = {
        "before": _AFTER_ALL if before is None else before.bytes,
        "after": b"" if after is None else after.bytes,
        "oldest_first": after is not None,
        "limit": limit,
        **_values(condition),
    }
    if condition.newest is not None:
        values["after"] = max(values["after"], _before_newest(connection, condition.newest))
    words = condition.words()
    if condition.key is None and condition.statuses is not None and NOT_COMPLETED.issuperset(condition.statuses):
        return _find_not_completed(connection, condition.statuses, words, values)
    statement = _search(connection, condition, values)
    if statement is queries.FIND_NEWEST and condition.statuses is not None:
        # All records with these statuses may be old: walk some, and then take the indexes.
        end = connection.execute(queries.BEFORE_NEXT, {**values, "walked": WALKED}).fetchone()
        nearest = {**values, "after": max(values["after"], end[0] if end else b"")}
        found = read_rows(connection.execute(queries.with_words(statement, words), nearest), FROM_ROW)
        if len(found) == limit or end is None or end[0] <= values["after"]:
            return found
        if _count_few(connection, condition, {**values, "few": MANY}) < MANY:
            statement = _few(queries.FIND_FEW, condition)
    return read_rows(connection.execute(queries.with_words(statement, words), values), FROM_ROW)


def count(connection: sqlite3.Connection, condition: RecordFilter) -> int:
    """Count the records that match."""
    values = _values(condition)
    statement = queries.COUNT if condition.statuses is None else _few(queries.COUNT_WITH_STATUS, condition)
    if condition.newest is not None:
        statement, values["after"] = queries.COUNT_NEWEST, _before_newest(connection, condition.newest)
    return connection.execute(queries.with_words(statement, condition.words()), values).fetchone()[0]


def statistics(connection: sqlite3.Connection, *, at: datetime) -> Statistics:
    """Count the records, and find how long the oldest due records have waited."""
    connection.execute(sql.BEGIN_READING)
    try:
        counts: dict[str, dict[TaskStatus, int]] = {}
        for queue, status, count in (*_count_ended(connection), *connection.execute(queries.COUNT_ACTIVE)):
            by_status = counts.setdefault(queue, {})
            by_status[TaskStatus(status)] = by_status.get(TaskStatus(status), 0) + count
        due: dict[str, DueRecords] = {}
        statement = queries.DUE_WITH_TURNS if connection.execute(queries.HAS_TURNS).fetchone() else queries.DUE
        for queue, number, oldest in connection.execute(statement, {"at": to_microseconds(at)}):
            before = due.get(queue, DueRecords(0, to_moment(oldest)))
            due[queue] = DueRecords(before.number + number, min(before.oldest, to_moment(oldest)))
    finally:
        connection.execute(sql.ROLLBACK)
    return Statistics(counts=counts, due=due)


def workers(connection: sqlite3.Connection) -> list[WorkerInfo]:
    """Read the registered workers."""
    return [from_worker(row) for row in connection.execute(sql.WORKERS)]


def unblocked(connection: sqlite3.Connection, *, limit: int) -> Unblocked:
    """Read the blocked records whose predecessors have all ended or been deleted."""
    blocked = [
        (UUID(bytes=id_), predecessors_in(after)) for id_, after in connection.execute(queries.BLOCKED).fetchall()
    ]
    predecessors = {one for _, before in blocked for one in before}
    active = {one for one in predecessors if connection.execute(queries.HAS_NOT_ENDED, (one.bytes,)).fetchone()}
    free = [record_id for record_id, before in blocked if active.isdisjoint(before)][:limit]
    return Unblocked(records=get_many(connection, free), others_wait=len(blocked) > len(free))


def unblocked_by(connection: sqlite3.Connection, ids: Sequence[UUID], *, limit: int) -> list[QueuedTaskRecord]:
    """Read the blocked records after these whose predecessors have all ended or been deleted."""
    found = {id_: after for one in ids for id_, after in connection.execute(queries.SUCCESSORS, (str(one),))}
    has_ended = dict[UUID, bool]()

    def is_free(after: str) -> bool:
        for one in reversed(list(predecessors_in(after))):  # The last one usually ends last.
            if one not in has_ended:
                has_ended[one] = connection.execute(queries.HAS_NOT_ENDED, (one.bytes,)).fetchone() is None
            if not has_ended[one]:
                return False
        return True

    free = (UUID(bytes=id_) for id_, after in sorted(found.items()) if is_free(after))
    return get_many(connection, list(islice(free, limit)))


def queues(connection: sqlite3.Connection) -> dict[str, QueueState]:
    """Read the state of each queue that has one."""
    return dict(map(from_state, connection.execute(sql.QUEUES)))


def schedules(
    connection: sqlite3.Connection, statement: str, values: Mapping[str, str] | None = None
) -> list[ScheduleState]:
    """Read the states of the schedules that a statement finds."""
    return schedules_from(body for (body,) in connection.execute(statement, values or {}))


def has_lapsed(connection: sqlite3.Connection, *, at: int, lapsed: int) -> bool:
    """Whether there is a worker to forget."""
    return connection.execute(sql.HAS_LAPSED, {"at": at, "lapsed": lapsed}).fetchone() is not None


def ended(
    connection: sqlite3.Connection, *, status: TaskStatus, before: datetime, limit: int, at: datetime
) -> list[UUID]:
    """Find the oldest ended records of a status that hold no key, queue by queue."""
    moments = {"before": to_microseconds(before), "at": to_microseconds(at)}
    found: list[UUID] = []
    for partition in queues_of(connection, sql.NEXT_ENDED_QUEUE, {"status": status.value}):
        values = {**partition, **moments, "limit": limit - len(found)}
        found += [UUID(bytes=id_) for (id_,) in connection.execute(sql.ENDED, values)]
    return found


def _find_not_completed(
    connection: sqlite3.Connection,
    statuses: Sequence[TaskStatus],
    words: Sequence[Words],
    values: Mapping[str, Any],
) -> list[QueuedTaskRecord]:
    """Read as many records of each status as are asked for, and keep the first of them all."""
    oldest_first = bool(values["oldest_first"])
    statement = queries.FIND_OLDEST_WITH_STATUS if oldest_first else queries.FIND_WITH_STATUS
    found: list[QueuedTaskRecord] = []
    for status in dict.fromkeys(statuses):
        rows = connection.execute(queries.with_words(statement, words), {**values, "status": status.value})
        found += read_rows(rows, FROM_ROW)
    return sorted(found, key=lambda record: record.id, reverse=not oldest_first)[: values["limit"]]


def _search(connection: sqlite3.Connection, condition: RecordFilter, values: Mapping[str, object]) -> str:
    """Choose the statement whose index fits the condition."""
    if condition.key is not None:
        return queries.FIND_WITH_KEY
    if condition.statuses is not None and _count_few(connection, condition, {**values, "few": FEW}) < FEW:
        return _few(queries.FIND_FEW, condition)
    return queries.FIND_OLDEST if values["oldest_first"] else queries.FIND_NEWEST


def _few(statement: str, condition: RecordFilter) -> str:
    return queries.in_queues(statement, some=condition.queues is not None)


def _count_few(connection: sqlite3.Connection, condition: RecordFilter, values: Mapping[str, object]) -> int:
    return connection.execute(_few(queries.COUNT_FEW, condition), values).fetchone()[0]


def _before_newest(connection: sqlite3.Connection, newest: int) -> bytes:
    row = connection.execute(queries.BEFORE_NEWEST, {"newest": newest}).fetchone()
    return b"" if row is None else row[0]


def _values(condition: RecordFilter) -> dict[str, Any]:
    moments = ("created_after", "created_before", "finished_after", "finished_before")
    words = enumerate(condition.words())
    return {
        "statuses": to_text(condition.statuses),
        "queues": to_text(condition.queues),
        "task_names": to_text(condition.task_names),
        "execution_backends": to_text(condition.execution_backends),
        "key": condition.key,
        "schedule": condition.schedule,
        "external": int(condition.external),
        **{name: moment and to_microseconds(moment) for name in moments for moment in (getattr(condition, name),)},
        **{f"word_{n}_{m}": fragment for n, one in words for m, fragment in enumerate(one.fragments)},
        "pending": condition.statuses is not None and TaskStatus.PENDING in condition.statuses,
    }


def _count_ended(connection: sqlite3.Connection) -> Iterator[tuple[str, str, int]]:
    for status in TERMINAL:
        for partition in queues_of(connection, sql.NEXT_ENDED_QUEUE, {"status": status.value}):
            (count,) = connection.execute(queries.COUNT_ENDED, partition).fetchone()
            yield partition["queue"], status.value, count
