"""What the writer does inside a transaction: insert, amend, swap, claim, delete, and save states."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import Final
from uuid import UUID

from lq_core.foundation.errors import DuplicateRecordError
from lq_core.queue.columns import to_text
from lq_core.queue.json_values import read_rows, unreadable_holder
from lq_core.queue.messages import Claim, Claimed, Insertion, QueueState, Swap
from lq_core.queue.predecessors import after_holders, waves
from lq_core.queue.sqlite import read_statements as queries
from lq_core.queue.sqlite import write_statements as sql
from lq_core.queue.sqlite.fairness import give_turns, promote
from lq_core.queue.sqlite.partitions import HeldKeys, Partitions
from lq_core.queue.sqlite.rows import (
    FROM_ROW,
    Row,
    from_state,
    is_plain,
    to_amendment,
    to_end,
    to_microseconds,
    to_plain_row,
    to_row,
    to_state,
    to_swap,
)
from lq_core.records.record import QueuedTaskRecord, TaskStatus
from lq_core.schedules.schedule_state import ScheduleState

_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


def insert(connection: sqlite3.Connection, records: Sequence[QueuedTaskRecord], *, at: datetime) -> list[Insertion]:
    """Store records; find the holder of each key that is held."""
    stored: dict[UUID, Insertion] = {}
    for wave in waves(records):
        if wave is records:
            return _insert(connection, records, at=at)
        insertions = _insert(connection, [after_holders(record, stored) for record in wave], at=at)
        stored |= zip((record.id for record in wave), insertions, strict=True)
    return [stored[record.id] for record in records]


def _insert(connection: sqlite3.Connection, records: Sequence[QueuedTaskRecord], *, at: datetime) -> list[Insertion]:
    if all(map(is_plain, records)):
        statement, rows = sql.INSERT_PLAIN, [to_plain_row(record, at=at) for record in records]
    else:
        records, moment = give_turns(connection, records, at=at)
        statement, rows = sql.INSERT, [to_row(record, at=moment) for record in records]
    try:
        stored = _execute_each(connection, statement, rows)
        insertions = [
            Insertion(record, created=True) if done else _insert_or_find(connection, record, row, at=at)
            for record, row, done in zip(records, rows, stored, strict=True)
        ]
    except sqlite3.IntegrityError as error:
        raise DuplicateRecordError(str(error)) from error
    _note_successors(connection, insertions)
    return insertions


def _note_successors(connection: sqlite3.Connection, insertions: Sequence[Insertion]) -> None:
    pairs = [
        (str(predecessor), insertion.record.id.bytes)
        for insertion in insertions
        if insertion.record.after is not None and insertion.created
        for predecessor in insertion.record.after.ids
    ]
    if pairs:
        connection.executemany(sql.NOTE_SUCCESSOR, pairs)


def amend(connection: sqlite3.Connection, swaps: Sequence[Swap], *, at: datetime) -> list[bool]:
    """Amend pending records, and say for each whether its epoch was still the expected one."""
    return _execute_each(connection, sql.AMEND, [to_amendment(swap, at=at) for swap in swaps])


def swap(connection: sqlite3.Connection, swaps: Sequence[Swap], *, at: datetime) -> list[bool]:
    """Swap records, and say for each whether its epoch was still the expected one."""
    if not swaps:
        return []
    if all(swap.record.has_ended and swap.record.key_released for swap in swaps):
        return _execute_each(connection, sql.END, [to_end(swap) for swap in swaps])
    return _execute_each(connection, sql.SWAP, [to_swap(swap, at=at) for swap in swaps])


def claim(connection: sqlite3.Connection, wanted: Claim, *, at: datetime, held: HeldKeys) -> Claimed:
    """Take due records in the order of claims over all partitions."""
    if not _is_registered(connection, wanted):
        return Claimed(alive=False)
    moment = to_microseconds(at)
    partitions = Partitions.of(connection, wanted, at=at, held=held)
    for partition in partitions.waiting():
        if connection.execute(sql.HAS_BECOME_DUE, {**partition, "at": moment}).fetchone():
            connection.execute(sql.PROMOTE, {**partition, "at": moment})
            # What is left has a fairness key, or is too much for one statement.
            if connection.execute(sql.HAS_BECOME_DUE, {**partition, "at": moment}).fetchone():
                promote(connection, partition, at=moment)
    ready = partitions.ready()
    if any(map(partitions.is_limited, ready)):
        rowids, held_back = partitions.choose(ready)
    else:
        firsts = [
            connection.execute(sql.FIRST_READY, {**partition, "at": moment, "limit": wanted.limit}).fetchall()
            for partition in ready
        ]
        rowids, held_back = [rowid for *_, rowid in islice(merge(*firsts), wanted.limit)], False
    if not rowids:
        return Claimed(held_back=held_back)
    starts = int(wanted.to is TaskStatus.RUNNING)
    values = {"status": wanted.to.value, "starts": starts, "worker_id": wanted.worker_id, "at": moment}
    taken = read_rows(connection.execute(sql.CLAIM, {**values, "rowids": to_text(rowids)}), FROM_ROW)
    if len(taken) > 1:
        taken.sort(key=lambda record: (-record.priority, record.scheduled_at, record.id.int))
    return Claimed(records=tuple(taken), held_back=held_back)


def find_nothing_to_claim(
    connection: sqlite3.Connection, wanted: Claim, *, at: datetime, held: HeldKeys
) -> Claimed | None:
    """Answer a claim that would take nothing, without a write; None when there is a record to take."""
    if not _is_registered(connection, wanted):
        return Claimed(alive=False)
    if wanted.limit < 1:
        return Claimed()
    due, held_back = look_ahead(connection, wanted, at=at, held=held)
    return Claimed(held_back=held_back) if due is None or due > to_microseconds(at) else None


def look_ahead(
    connection: sqlite3.Connection, wanted: Claim, *, at: datetime, held: HeldKeys
) -> tuple[int | None, bool]:
    """Find when a claim can take its next record, in microseconds, and whether a limit holds records back."""
    moment = to_microseconds(at)
    partitions = Partitions.of(connection, wanted, at=at, held=held)
    ready = partitions.ready()
    held_back = False
    if any(map(partitions.is_limited, ready)):
        openings = partitions.openings(ready)
        held_back = any(opens_at is None or opens_at > at for opens_at in openings)
        moments = [to_microseconds(opens_at) for opens_at in openings if opens_at is not None]
    else:
        found = [
            connection.execute(sql.FIRST_READY, {**partition, "at": moment, "limit": 1}).fetchone()
            for partition in ready
        ]
        # A record that was found due stays due, also after the clock was set back.
        moments = [min(scheduled_at, moment) for _, scheduled_at, *_ in filter(None, found)]
    for partition in partitions.waiting():
        values = {**partition, "at": moment, "draining": partitions.draining(partition)}
        moments.extend(connection.execute(sql.FIRST_WAITING, values).fetchone() or ())
    return min(moments, default=None), held_back


def swap_queue(connection: sqlite3.Connection, queue: str, old: QueueState, new: QueueState) -> bool:
    """Store the new state of a queue if the stored one is the old one."""
    if dict(map(from_state, connection.execute(sql.QUEUES))).get(queue, QueueState()) != old:
        return False
    connection.execute(sql.SET_QUEUE, to_state(queue, new))
    return True


def save_schedule(
    connection: sqlite3.Connection, state: ScheduleState, records: Sequence[QueuedTaskRecord], *, at: datetime
) -> bool:
    """Store a state and its records; False when the version before is not the current one."""
    statement = sql.ADD_SCHEDULE if state.version == 1 else sql.CHANGE_SCHEDULE
    values = {"name": state.name, "version": state.version, "body": to_text(state)}
    if connection.execute(statement, values).rowcount != 1:
        return False
    insert(
        connection, [one for one in records if not connection.execute(queries.GET, (one.id.bytes,)).fetchone()], at=at
    )
    return True


def beat(connection: sqlite3.Connection, worker_id: str, *, at: datetime) -> bool:
    """Store a heartbeat; False when the worker is not registered."""
    return connection.execute(sql.BEAT, {"worker_id": worker_id, "at": to_microseconds(at)}).rowcount == 1


def forget_lapsed(connection: sqlite3.Connection, *, at: datetime, lapsed: int) -> None:
    """Forget the workers that were not seen since *lapsed*."""
    connection.execute(sql.HEARD_JUST_NOW, {"at": to_microseconds(at)})
    connection.execute(sql.FORGET_LAPSED, {"lapsed": lapsed})


def delete(
    connection: sqlite3.Connection, ids: Sequence[UUID], *, at: datetime, before: datetime = _END_OF_TIME
) -> int:
    """Delete those of these records that ended before a moment and hold no key."""
    moments = {"at": to_microseconds(at), "before": to_microseconds(before)}
    return connection.executemany(sql.DELETE, [{**moments, "id": one.bytes} for one in ids]).rowcount


def _is_registered(connection: sqlite3.Connection, wanted: Claim) -> bool:
    return connection.execute(sql.IS_REGISTERED, {"worker_id": wanted.worker_id}).fetchone() is not None


def _execute_each(connection: sqlite3.Connection, statement: str, rows: Sequence[Row]) -> list[bool]:
    """Execute a statement for each row, and say for each whether it changed a record."""
    if len(rows) == 1:  # Without the savepoint, which takes as long as the row.
        return [connection.execute(statement, rows[0]).rowcount == 1]
    connection.execute(sql.SAVE)
    if connection.executemany(statement, rows).rowcount == len(rows):
        done = [True] * len(rows)
    else:
        # Some rows did not match: undo all, and repeat one by one to learn which.
        connection.execute(sql.UNDO)
        done = [connection.execute(statement, row).rowcount == 1 for row in rows]
    connection.execute(sql.KEEP)
    return done


def _insert_or_find(connection: sqlite3.Connection, record: QueuedTaskRecord, row: Row, *, at: datetime) -> Insertion:
    asked = {"key": record.key, "at": to_microseconds(at)}
    if connection.execute(sql.RELEASE_KEY, asked).rowcount == 1 and connection.execute(sql.INSERT, row).rowcount == 1:
        return Insertion(record, created=True)
    for holder in read_rows(connection.execute(sql.HOLDER, {"key": record.key}), FROM_ROW):
        return Insertion(holder, created=False)
    raise unreadable_holder(record.key)
