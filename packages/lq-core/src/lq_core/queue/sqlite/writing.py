"""What is done inside one transaction of the writer: insert, swap, claim, rescue, delete."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from uuid import UUID

from lq_core.errors import DuplicateRecordError
from lq_core.queue.columns import to_text
from lq_core.queue.messages import Claim, Claimed, Insertion, QueueState, Swap
from lq_core.queue.nested import read_rows, unreadable_holder
from lq_core.queue.sqlite import limited, limiting
from lq_core.queue.sqlite import statements as sql
from lq_core.queue.sqlite.from_rows import FROM_ROW, from_state
from lq_core.queue.sqlite.lanes import Lanes, queues_of
from lq_core.queue.sqlite.rows import (
    Row,
    is_plain,
    to_amendment,
    to_end,
    to_microseconds,
    to_plain_row,
    to_row,
    to_state,
    to_swap,
)
from lq_core.record import QueuedTaskRecord, TaskStatus


def insert(connection: sqlite3.Connection, records: Sequence[QueuedTaskRecord], *, at: datetime) -> list[Insertion]:
    """Store records; where a key is held, find its holder."""
    if all(map(is_plain, records)):
        statement, rows = sql.INSERT_PLAIN, [to_plain_row(record, at=at) for record in records]
    else:
        statement, rows = sql.INSERT, [to_row(record, at=at) for record in records]
    connection.execute(sql.SAVE)
    try:
        if connection.executemany(statement, rows).rowcount == len(rows):
            insertions = [Insertion(record, created=True) for record in records]
        else:
            # Some keys are held: do it again one by one, to learn which.
            connection.execute(sql.UNDO)
            insertions = [
                _insert_or_find(connection, record, statement, row, at=at)
                for record, row in zip(records, rows, strict=True)
            ]
    except sqlite3.IntegrityError as error:
        raise DuplicateRecordError(str(error)) from error
    connection.execute(sql.KEEP)
    return insertions


def amend(connection: sqlite3.Connection, swaps: Sequence[Swap], *, at: datetime) -> list[bool]:
    """Let pending records ask for something else, and say for each whether its epoch was still the expected one."""
    return [connection.execute(sql.AMEND, to_amendment(swap, at=at)).rowcount == 1 for swap in swaps]


def swap(connection: sqlite3.Connection, swaps: Sequence[Swap], *, at: datetime) -> list[bool]:
    """Swap records, and say for each whether its epoch was still the expected one."""
    if not swaps:
        return []
    if all(swap.record.has_ended and swap.record.key_released for swap in swaps):
        statement, rows = sql.END, [to_end(swap) for swap in swaps]
    else:
        statement, rows = sql.SWAP, [to_swap(swap, at=at) for swap in swaps]
    connection.execute(sql.SAVE)
    if connection.executemany(statement, rows).rowcount == len(rows):
        kept = [True] * len(rows)
    else:
        # Some did not match: do it again one by one, to learn which.
        connection.execute(sql.UNDO)
        kept = [connection.execute(statement, row).rowcount == 1 for row in rows]
    connection.execute(sql.KEEP)
    return kept


def claim(connection: sqlite3.Connection, wanted: Claim, *, at: datetime) -> Claimed:
    """Take due records, lane by lane, first come first over all lanes."""
    if not is_registered(connection, wanted):
        return Claimed(alive=False)
    moment = to_microseconds(at)
    lanes = Lanes.of(connection, wanted)
    for lane in lanes.waiting():
        if connection.execute(sql.HAS_BECOME_DUE, {**lane, "at": moment}).fetchone():
            connection.execute(sql.PROMOTE, {**lane, "at": moment})
    ready = lanes.ready()
    if any(map(lanes.is_limited, ready)):
        rowids, held_back = limited.choose(lanes, ready, at=at)
    else:
        firsts = [
            connection.execute(sql.FIRST_READY, {**lane, "at": moment, "limit": wanted.limit}).fetchall()
            for lane in ready
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


def find_nothing_to_claim(connection: sqlite3.Connection, wanted: Claim, *, at: datetime) -> Claimed | None:
    """Answer a claim that would take nothing, by reading only; None when there is something to take."""
    if not is_registered(connection, wanted):
        return Claimed(alive=False)
    if wanted.limit < 1:
        return Claimed()
    due, held_back = look_ahead(connection, wanted, at=at)
    return Claimed(held_back=held_back) if due is None or due > to_microseconds(at) else None


def is_registered(connection: sqlite3.Connection, wanted: Claim) -> bool:
    """Whether the worker that claims is known and has not been declared dead."""
    return connection.execute(sql.IS_REGISTERED, {"worker_id": wanted.worker_id}).fetchone() is not None


def look_ahead(connection: sqlite3.Connection, wanted: Claim, *, at: datetime) -> tuple[int | None, bool]:
    """Tell in microseconds when the first record may start that a claim could take, and whether a limit holds some."""
    moment = to_microseconds(at)
    lanes = Lanes.of(connection, wanted)
    ready = lanes.ready()
    held_back = False
    if any(map(lanes.is_limited, ready)):
        openings = limited.openings(lanes, ready, at=at)
        held_back = any(opens_at is None or opens_at > at for opens_at in openings)
        moments = [to_microseconds(opens_at) for opens_at in openings if opens_at is not None]
    else:
        found = [connection.execute(sql.FIRST_READY, {**lane, "at": moment, "limit": 1}).fetchone() for lane in ready]
        # What was found due stays due, also when the clock was set back.
        moments = [min(scheduled_at, moment) for _, scheduled_at, *_ in filter(None, found)]
    for lane in lanes.waiting():
        values = {**lane, "at": moment, "draining": lanes.draining(lane)}
        moments.extend(connection.execute(sql.FIRST_WAITING, values).fetchone() or ())
    return min(moments, default=None), held_back


def swap_queue(connection: sqlite3.Connection, queue: str, old: QueueState, new: QueueState) -> bool:
    """Keep the new state of a queue if the old one is what is kept."""
    stored = dict(map(from_state, connection.execute(limiting.QUEUE, {"name": queue})))
    if stored.get(queue, QueueState()) != old:
        return False
    connection.execute(limiting.SET_QUEUE, to_state(queue, new))
    return True


def bury_and_find_orphans(
    connection: sqlite3.Connection, *, at: datetime, lapsed: datetime, limit: int
) -> list[QueuedTaskRecord]:
    """Forget workers not seen since a moment, and read the running records whose worker is gone."""
    connection.execute(sql.HEARD_JUST_NOW, {"at": to_microseconds(at)})
    connection.execute(sql.BURY, {"lapsed": to_microseconds(lapsed)})
    return read_rows(connection.execute(sql.ORPHANS, {"limit": limit}), FROM_ROW)


def find_orphans_of_the_buried(
    connection: sqlite3.Connection, *, at: datetime, lapsed: datetime, limit: int
) -> list[QueuedTaskRecord] | None:
    """Answer the same by reading only, when there is no worker to forget; None when there is one."""
    if connection.execute(sql.HAS_LAPSED, {"at": to_microseconds(at), "lapsed": to_microseconds(lapsed)}).fetchone():
        return None
    return read_rows(connection.execute(sql.ORPHANS, {"limit": limit}), FROM_ROW)


def delete_ended(
    connection: sqlite3.Connection, *, status: TaskStatus, before: datetime, limit: int, at: datetime
) -> int:
    """Delete the oldest ended records of a status, queue by queue."""
    deleted = 0
    for lane in queues_of(connection, sql.NEXT_ENDED_QUEUE, {"status": status.value}):
        values = {
            **lane,
            "before": to_microseconds(before),
            "at": to_microseconds(at),
            "limit": limit - deleted,
        }
        deleted += connection.execute(sql.DELETE_ENDED, values).rowcount
    return deleted


def delete_many(connection: sqlite3.Connection, ids: Sequence[UUID], *, at: datetime) -> int:
    """Delete those of these records that have ended and hold no key."""
    moment = to_microseconds(at)
    deletions = (connection.execute(sql.DELETE_ONE, {"id": one.bytes, "at": moment}) for one in dict.fromkeys(ids))
    return sum(deletion.rowcount for deletion in deletions)


def find_nothing_to_delete(
    connection: sqlite3.Connection, *, status: TaskStatus, before: datetime, at: datetime
) -> int | None:
    """Answer a deletion that would delete nothing, by reading only."""
    moments = {"before": to_microseconds(before), "at": to_microseconds(at)}
    for lane in queues_of(connection, sql.NEXT_ENDED_QUEUE, {"status": status.value}):
        if connection.execute(sql.HAS_EXPIRED, {**lane, **moments}).fetchone():
            return None
    return 0


def _insert_or_find(
    connection: sqlite3.Connection, record: QueuedTaskRecord, statement: str, row: Row, *, at: datetime
) -> Insertion:
    if connection.execute(statement, row).rowcount == 1:
        return Insertion(record, created=True)
    asked = {"key": record.key, "at": to_microseconds(at)}
    if connection.execute(sql.LET_GO, asked).rowcount == 1 and connection.execute(statement, row).rowcount == 1:
        return Insertion(record, created=True)
    for holder in read_rows(connection.execute(sql.HOLDER, {"key": record.key}), FROM_ROW):
        return Insertion(holder, created=False)
    raise unreadable_holder(record.key)
