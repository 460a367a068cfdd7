"""Choosing among records that have limits: every lane of the claim, one for each concurrency key."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from lq_core.queue.limits import Allowances, Lane, Subject, pick
from lq_core.queue.nested import read_limits
from lq_core.queue.sqlite import limiting
from lq_core.queue.sqlite.lanes import Lanes
from lq_core.queue.sqlite.rows import Row, to_microseconds, to_moment


def choose(lanes: Lanes, ready: Sequence[Mapping[str, str]], *, at: datetime) -> tuple[list[int], bool]:
    """Pick the rows that a claim takes, keep what that costs, and tell whether a limit held something back."""
    allowances = _allowances(lanes.connection, at)
    limit = lanes.wanted.limit
    picked, held_back = pick(_lanes_of(lanes, ready, at=at, limit=limit), limit, allowances)
    if allowances.changed:
        kept = [(*subject, to_microseconds(full_at)) for subject, full_at in allowances.changed.items()]
        lanes.connection.executemany(limiting.KEEP_BUCKET, kept)
        lanes.connection.execute(limiting.DROP_FULL_BUCKETS, {"at": to_microseconds(at)})
    return [rowid for _, _, _, rowid, _ in picked], held_back


def openings(lanes: Lanes, ready: Sequence[Mapping[str, str]], *, at: datetime) -> list[datetime | None]:
    """Tell for each lane in which something is due when it may start; None when another has to end before."""
    allowances = _allowances(lanes.connection, at)
    return [allowances.opens_at(lane) for lane in _lanes_of(lanes, ready, at=at, limit=1)]


def _lanes_of(
    lanes: Lanes, ready: Sequence[Mapping[str, str]], *, at: datetime, limit: int
) -> Iterator[Lane[tuple[int, int, bytes, int, str | None]]]:
    for lane in ready:
        state = lanes.state_of(lane)
        for key in lanes.keys_of(lane):
            values = {**lane, "key": key, "at": to_microseconds(at), "draining": lanes.draining(lane), "limit": limit}
            first = lanes.connection.execute(limiting.FIRST_LIMITED, {**values, "limit": 1}).fetchone()
            if first is not None:
                places = chain([first], _rest(lanes.connection, values))
                yield Lane(lane["queue"], places, key=key, limits=read_limits(first[4]), queue_limits=state.limits)


def _rest(connection: sqlite3.Connection, values: Mapping[str, Any]) -> Iterator[Row]:
    yield from connection.execute(limiting.FIRST_LIMITED, values).fetchall()[1:]


def _allowances(connection: sqlite3.Connection, at: datetime) -> Allowances:
    def running(subject: Subject) -> int:
        statement = limiting.COUNT_RUNNING_IN_QUEUE if subject.kind == "queue" else limiting.COUNT_RUNNING_WITH_KEY
        (count,) = connection.execute(statement, {"name": subject.name}).fetchone()
        return count

    def full_at(subject: Subject) -> datetime | None:
        found = connection.execute(limiting.BUCKET, {"kind": subject.kind, "name": subject.name}).fetchone()
        return None if found is None else to_moment(found[0])

    return Allowances(at, running=running, full_at=full_at)
