"""
Which due records may start: the order of claims, concurrency and rates, decided here for every queue backend.

A backend brings the lanes, what runs already, and the buckets that it has kept; it starts what is picked, and keeps
the buckets that have changed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heapify, heappop, heapreplace
from math import ceil
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from lq_core.record import Limits, RateLimit

Place = TypeVar("Place", bound="tuple[Any, ...]")
"""A record that is due, as a tuple that sorts by the order of claims."""


class Subject(NamedTuple):
    """What a limit is put on: the records of one queue, or those of one concurrency key."""

    kind: Literal["queue", "key"]
    name: str


@dataclass(frozen=True)
class Lane(Generic[Place]):
    """
    What is due in one queue, for one execution backend, under one concurrency key or under none.

    The limits of the first record of a lane hold for the whole lane. What stands behind a place is asked for only
    once that place has been picked, or not at all.
    """

    queue: str
    places: Iterator[Place]
    key: str | None = None
    limits: Limits | None = None
    """Of the concurrency key."""

    queue_limits: Limits | None = None


class Allowances:
    """
    How much more may start at a moment: a permit for each record that does not run yet, a token for each start.

    *running* counts the running and dispatched records of a subject. *full_at* tells when the bucket of a subject
    will be full again, which is all that has to be kept of it; None, or a moment that has passed, means that it is.
    """

    def __init__(
        self, at: datetime, *, running: Callable[[Subject], int], full_at: Callable[[Subject], datetime | None]
    ) -> None:
        self._at = at
        self._count = running
        self._read = full_at
        self._running: dict[Subject, int] = {}
        self._full_at: dict[Subject, datetime] = {}
        self.changed: dict[Subject, datetime] = {}
        """The buckets that have to be kept, by the moment at which each will be full."""

    def admit(self, lane: Lane[Place]) -> bool:
        """Spend what the start of one record of this lane takes; nothing, and False, when it may not start."""
        limits = list(_limits_of(lane))
        if not all(self._is_free(subject, limit) for subject, limit in limits):
            return False
        for subject, limit in limits:
            if limit.concurrency is not None:
                self._running[subject] += 1
            if limit.rate is not None:
                full_at = self._bucket(subject, limit.rate) + _interval(limit.rate)
                self._full_at[subject] = self.changed[subject] = full_at
        return True

    def opens_at(self, lane: Lane[Place]) -> datetime | None:
        """Tell when the first record of this lane may start; None when another has to end before."""
        moments = [self._at]
        for subject, limit in _limits_of(lane):
            if limit.concurrency is not None and self._running_of(subject) >= limit.concurrency:
                return None
            if limit.rate is not None:
                stored = self._read(subject) or self._at
                # A bucket that is emptier than empty was kept by another clock: the next claim puts that right.
                if stored <= self._at + _capacity(limit.rate):
                    moments.append(stored + _interval(limit.rate) - _capacity(limit.rate))
        return max(moments)

    def room(self, lane: Lane[Place], most: int) -> int:
        """How many records of this lane may start, if no other lane comes first; at most *most*."""
        for subject, limit in _limits_of(lane):
            if limit.concurrency is not None:
                most = min(most, limit.concurrency - self._running_of(subject))
            if limit.rate is not None:
                filled = self._at + _capacity(limit.rate) - self._bucket(subject, limit.rate)
                most = min(most, filled // _interval(limit.rate))
        return max(0, most)

    def _is_free(self, subject: Subject, limit: Limits) -> bool:
        if limit.concurrency is not None and self._running_of(subject) >= limit.concurrency:
            return False
        if limit.rate is None:
            return True
        return self._bucket(subject, limit.rate) + _interval(limit.rate) <= self._at + _capacity(limit.rate)

    def _running_of(self, subject: Subject) -> int:
        if subject not in self._running:
            self._running[subject] = self._count(subject)
        return self._running[subject]

    def _bucket(self, subject: Subject, rate: RateLimit) -> datetime:
        if subject not in self._full_at:
            self._full_at[subject] = max(self._read(subject) or self._at, self._at)
        empty = self._at + _capacity(rate)
        if self._full_at[subject] > empty:
            # The clock has gone back, or the rate was changed: empty is as little as a bucket holds.
            self._full_at[subject] = self.changed[subject] = empty
        return self._full_at[subject]


def pick(lanes: Iterable[Lane[Place]], limit: int, allowances: Allowances) -> tuple[Sequence[Place], bool]:
    """
    Choose at most *limit* places, first come first over all lanes, and tell whether a lane was held back.

    A lane that may not start its first record is left out whole: it never holds up another.
    """
    tops = [(first, number, lane) for number, lane in enumerate(lanes) for first in _next(lane)]
    heapify(tops)
    picked: list[Place] = []
    held_back = False
    while tops and len(picked) < limit:
        place, number, lane = tops[0]
        if not allowances.admit(lane):
            held_back = True
            heappop(tops)
            continue
        picked.append(place)
        for following in _next(lane):
            heapreplace(tops, (following, number, lane))
            break
        else:
            heappop(tops)
    return picked, held_back


def _next(lane: Lane[Place]) -> Sequence[Place]:
    place = next(lane.places, None)
    return () if place is None else (place,)


def _limits_of(lane: Lane[Place]) -> Iterator[tuple[Subject, Limits]]:
    if lane.queue_limits is not None:
        yield Subject("queue", lane.queue), lane.queue_limits
    if lane.key is not None and lane.limits is not None:
        yield Subject("key", lane.key), lane.limits


def _interval(rate: RateLimit) -> timedelta:
    """How long one token takes; rounded up, so that there are never more than there should be."""
    return timedelta(microseconds=ceil(rate.per * 1_000_000 / rate.count))


def _capacity(rate: RateLimit) -> timedelta:
    """How long an empty bucket takes to be full."""
    return _interval(rate) * (rate.burst or rate.count)
