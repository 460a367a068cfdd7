"""The rollups of the SQLite file, one row for each minute and queue, and the changes that people asked for."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import json

from lq_core.queue.messages import Action
from lq_core.queue.rollups import Rollup, merged
from lq_core.queue.sqlite.rows import to_microseconds, to_moment

READ_ONE: Final = "SELECT numbers FROM rollups WHERE minute = ? AND queue = ?"

WRITE: Final = "INSERT OR REPLACE INTO rollups (minute, queue, numbers) VALUES (?, ?, ?)"

DELETE: Final = "DELETE FROM rollups WHERE minute < ?"

READ: Final = "SELECT minute, numbers FROM rollups WHERE minute >= ? AND queue = ? ORDER BY minute"

WRITE_ACTION: Final = "INSERT INTO actions (at, actor, action, subject) VALUES (?, ?, ?, ?)"

DELETE_ACTIONS: Final = "DELETE FROM actions WHERE at < ?"

ACTIONS: Final = "SELECT at, actor, action, subject FROM actions ORDER BY at DESC, rowid DESC LIMIT ?"

_numbers: Final = json.Decoder(list[int]).decode


def add_rollups(connection: sqlite3.Connection, added: Sequence[Rollup], *, oldest: datetime) -> None:
    """Add these numbers to the stored ones, and delete what was before *oldest*."""
    for rollup in added:
        key = to_microseconds(rollup.minute), rollup.queue
        stored = connection.execute(READ_ONE, key).fetchone()
        both = [rollup] if stored is None else [rollup, _rollup(rollup.minute, rollup.queue, stored[0])]
        connection.execute(WRITE, (*key, json.encode(merged(both)).decode()))
    connection.execute(DELETE, (to_microseconds(oldest),))


def rollups(connection: sqlite3.Connection, queue: str, since: datetime) -> list[Rollup]:
    """Read the rollups of a queue, oldest first."""
    rows = connection.execute(READ, (to_microseconds(since), queue))
    return [_rollup(to_moment(minute), queue, numbers) for minute, numbers in rows]


def add_action(connection: sqlite3.Connection, action: Action, *, oldest: datetime) -> None:
    """Keep a change, and delete those before *oldest*."""
    connection.execute(WRITE_ACTION, (to_microseconds(action.at), action.actor, action.action, action.subject))
    connection.execute(DELETE_ACTIONS, (to_microseconds(oldest),))


def actions(connection: sqlite3.Connection, limit: int) -> list[Action]:
    """Read the newest changes, newest first."""
    return [
        Action(at=to_moment(at), actor=actor, action=action, subject=subject)
        for at, actor, action, subject in connection.execute(ACTIONS, (limit,))
    ]


def _rollup(minute: datetime, queue: str, numbers: str) -> Rollup:
    return Rollup.of_numbers(minute, queue, _numbers(numbers))
