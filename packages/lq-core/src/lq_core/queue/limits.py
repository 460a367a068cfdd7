"""
Which due records may start: the order of claims, concurrency and rates, for every queue backend.

A backend supplies the partitions, the running counts and the stored buckets. It starts the records that are picked,
and stores the buckets that changed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from heapq import heapify, heappop, heapreplace
from math import ceil
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from lq_core.foundation.duration import seconds
from lq_core.records.record import Limits, RateLimit

Entry = TypeVar("Entry", bound="tuple[Any, ...]")
"""A due record as a tuple that sorts in the order of claims."""


class Subject(NamedTuple):
    """What a limit applies to: the records of one queue, or of one concurrency key."""

    kind: Literal["queue", "key"]
    name: str


class Partition(Struct, Generic[Entry], frozen=True):
    """
    The due records of one queue, one execution backend and one concurrency key (or None).

    The limits of the first record apply to the whole partition. A backend reads the record of an entry only after the
    entry has been picked.
    """

    queue: str
    entries: Iterator[Entry]
    key: str | None = None
    limits: Limits | None = None
    """The limits of the concurrency key."""

    queue_limits: Limits | None = None

    @property
    def by_key(self) -> "Partition[Entry]":
        """The same records without the limits of their queue."""
        return self if self.queue_limits is None else replace(self, queue_limits=None)


class Allowances:
    """
    How many more records may start at a moment: each start takes a slot of the concurrency and a token of the rate.

    *running* counts the running and dispatched records of a subject. *full_at* gives the moment at which the bucket of
    a subject will be full again, which is all that a backend stores; None, or a past moment, means that it is full.
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
        """The buckets to store: the moment at which each will be full."""

    def admit(self, partition: Partition[Entry]) -> bool:
        """Take the slots and tokens for the start of one record; take nothing and return False if it may not start."""
        if not self.room(partition, 1):
            return False
        for subject, limit in _limits_of(partition):
            if limit.concurrency is not None:
                self._running[subject] += 1
            if limit.rate is not None:
                full_at = self._bucket(subject, limit.rate) + _interval(limit.rate)
                self._full_at[subject] = self.changed[subject] = full_at
        return True

    def opens_at(self, partition: Partition[Entry]) -> datetime | None:
        """Find when the first record of this partition may start; None when another record has to end first."""
        moments = [self._at]
        for subject, limit in _limits_of(partition):
            if limit.concurrency is not None and self._running_of(subject) >= limit.concurrency:
                return None
            if limit.rate is not None:
                stored = self._read(subject) or self._at
                # A bucket that is emptier than empty comes from another clock: the next claim corrects it.
                if stored <= self._at + _capacity(limit.rate):
                    moments.append(stored + _interval(limit.rate) - _capacity(limit.rate))
        return max(moments)

    def room(self, partition: Partition[Entry], most: int) -> int:
        """Count how many records of this partition may start, at most *most*, if no other partition comes first."""
        for subject, limit in _limits_of(partition):
            if limit.concurrency is not None:
                most = min(most, limit.concurrency - self._running_of(subject))
            if limit.rate is not None:
                filled = self._at + _capacity(limit.rate) - self._bucket(subject, limit.rate)
                most = min(most, filled // _interval(limit.rate))
        return max(0, most)

    def _running_of(self, subject: Subject) -> int:
        if subject not in self._running:
            self._running[subject] = self._count(subject)
        return self._running[subject]

    def _bucket(self, subject: Subject, rate: RateLimit) -> datetime:
        if subject not in self._full_at:
            self._full_at[subject] = max(self._read(subject) or self._at, self._at)
        empty = self._at + _capacity(rate)
        if self._full_at[subject] > empty:
            # The clock was set back, or the rate was changed.
            self._full_at[subject] = self.changed[subject] = empty
        return self._full_at[subject]


def pick(partitions: Iterable[Partition[Entry]], limit: int, allowances: Allowances) -> tuple[Sequence[Entry], bool]:
    """
    Choose at most *limit* entries in the order of claims over all partitions; say whether a limit held one back.

    A partition that may not start its first record is left out, so it never delays the others.
    """
    firsts = ((next(partition.entries, None), number, partition) for number, partition in enumerate(partitions))
    tops = [(first, number, partition) for first, number, partition in firsts if first is not None]
    heapify(tops)
    picked: list[Entry] = []
    held_back = False
    while tops and len(picked) < limit:
        entry, number, partition = tops[0]
        following = None
        if allowances.admit(partition):
            picked.append(entry)
            following = next(partition.entries, None)
        else:
            held_back = True
        if following is None:
            heappop(tops)
        else:
            heapreplace(tops, (following, number, partition))
    return picked, held_back


def _limits_of(partition: Partition[Entry]) -> Iterator[tuple[Subject, Limits]]:
    if partition.queue_limits is not None:
        yield Subject("queue", partition.queue), partition.queue_limits
    if partition.key is not None and partition.limits is not None:
        yield Subject("key", partition.key), partition.limits


def _interval(rate: RateLimit) -> timedelta:
    """How long one token takes, rounded up so that there are never too many."""
    return timedelta(microseconds=ceil(seconds(rate.per) * 1_000_000 / rate.count))


def _capacity(rate: RateLimit) -> timedelta:
    """How long an empty bucket takes to fill."""
    return _interval(rate) * (rate.burst or rate.count)
