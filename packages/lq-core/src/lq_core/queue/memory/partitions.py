"""
Pending records in the order of claims, in heaps for each queue and execution backend.

An entry stays when its record changes. It is dropped when it comes to the top, or when too many entries wait.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from lq_core.queue.limits import Allowances, Partition
from lq_core.queue.messages import DueRecords, QueueState
from lq_core.records.record import QueuedTaskRecord

LAST = datetime.max.replace(tzinfo=UTC)

CROWDED = 1000
"""When this number of entries wait for their time, the stale ones are dropped; next at twice what is left."""


class Waiting(NamedTuple):
    """A pending record, by what decides the order of claims."""

    rank: int
    """The negated priority."""

    scheduled_at: datetime
    number: int
    """The record's id as a number."""

    epoch: int
    key: str | None
    """The concurrency key."""


class Heaps:
    """The entries of one queue and execution backend: due ones by concurrency key, the others by time."""

    def __init__(
        self, queue: str, is_current: Callable[[Waiting], bool], fall_due: Callable[[Waiting], Waiting]
    ) -> None:
        self.queue = queue
        self._is_current = is_current
        self._fall_due = fall_due
        self.plain: list[Waiting] = []
        """The due entries without a key, in the order of claims."""

        self.keyed: dict[str, list[Waiting]] = {}
        """The due entries of each key."""

        self.open: list[Waiting] = []
        """
        A heap with the first entry of each key that may have room, so that a claim does not look at the other keys.

        An entry that is not the first of its key any more is passed over.
        """

        self.later: list[tuple[datetime, Waiting]] = []
        self.crowded = CROWDED

    def add(self, entry: Waiting) -> None:
        """Add an entry that is due."""
        if entry.key is None:
            heappush(self.plain, entry)
            return
        heap = self.keyed.setdefault(entry.key, [])
        heappush(heap, entry)
        if heap[0] is entry:
            heappush(self.open, entry)

    def postpone(self, entry: Waiting) -> None:
        """Add an entry that waits for its time."""
        heappush(self.later, (entry.scheduled_at, entry))
        if len(self.later) >= self.crowded:
            # A record that is postponed again and again leaves a stale entry each time.
            self.later = [each for each in self.later if self._is_current(each[1])]
            heapify(self.later)
            self.crowded = max(CROWDED, 2 * len(self.later))

    def promote(self, at: datetime) -> None:
        """Move the entries that have become due."""
        while self.later and self.later[0][0] <= at:
            self.add(self._fall_due(heappop(self.later)[1]))

    def drop_stale(self) -> None:
        """Drop stale entries at the tops."""
        while self.plain and not self._is_current(self.plain[0]):
            heappop(self.plain)
        while self.later and not self._is_current(self.later[0][1]):
            heappop(self.later)

    def drop_all_stale(self) -> int:
        """Drop the stale entries that are due, and return how many others there are."""
        self.plain = self._current(self.plain)
        self.keyed = {key: kept for key, heap in self.keyed.items() if (kept := self._current(heap))}
        self.open = [self.keyed[key][0] for key in {each.key for each in self.open} if key in self.keyed]
        heapify(self.open)
        return len(self.plain) + sum(map(len, self.keyed.values()))

    def _current(self, heap: list[Waiting]) -> list[Waiting]:
        kept = list(filter(self._is_current, heap))
        heapify(kept)
        return kept

    def first(self, key: str) -> Waiting | None:
        """Find the first due entry of a key."""
        heap = self.keyed.get(key, [])
        while heap:
            if self._is_current(heap[0]):
                return heap[0]
            heappop(heap)
        self.keyed.pop(key, None)  # There may be any number of keys over time.
        return None

    def reopen(self, key: str) -> None:
        """Let claims look at a key again."""
        entry = self.first(key)
        if entry is not None:
            heappush(self.open, entry)

    def firsts(self) -> Iterator[Waiting]:
        """Iterate over the first entries of the open keys in the order of claims, each of which is closed by that."""
        seen = set[str]()
        while self.open:
            entry = heappop(self.open)
            assert entry.key is not None
            if entry.key in seen:
                continue
            first = self.first(entry.key)
            if first == entry:
                seen.add(entry.key)
                yield entry
            elif first is not None and first > entry:
                heappush(self.open, first)

    def in_order(self, key: str | None) -> Iterator[Waiting]:
        """Iterate over due entries in the order of claims; each is removed when the next is asked for."""
        heap = self.plain if key is None else self.keyed.get(key, [])
        while heap:
            if self._is_current(heap[0]):
                yield heap[0]
            heappop(heap)

    def partition(
        self, key: str | None, state: QueueState, records: Mapping[int, QueuedTaskRecord]
    ) -> Partition[Waiting]:
        """Make the partition of a key to pick from."""
        entries = self.in_order(key)
        first = (self.plain[0] if self.plain else None) if key is None else self.first(key)
        if state.draining is not None:
            until, heap = state.draining, self.plain if key is None else self.keyed.get(key, [])
            due = sorted(each for each in heap if self._is_current(each) and records[each.number].created_at < until)
            entries, first = iter(due), due[0] if due else None
        limits = None if first is None else records[first.number].limits
        return Partition(self.queue, entries, key=key, limits=limits, queue_limits=state.limits)

    def next_later(self, state: QueueState, records: Mapping[int, QueuedTaskRecord]) -> datetime | None:
        """Find when the next entry becomes due."""
        if state.draining is None:
            return self.later[0][0] if self.later else None
        until = state.draining
        moments = (
            moment for moment, each in self.later if self._is_current(each) and records[each.number].created_at < until
        )
        return min(moments, default=None)


class Partitions:
    """
    All partitions.

    *is_current* says whether the record of an entry may still be claimed. *fall_due* returns the entry of a record that
    has waited for its time, which may have another turn now.
    """

    def __init__(self, is_current: Callable[[Waiting], bool], fall_due: Callable[[Waiting], Waiting]) -> None:
        self._is_current = is_current
        self._fall_due = fall_due
        self._heaps: dict[tuple[str, str], Heaps] = {}
        self._closed: dict[str, dict[Heaps, None]] = {}
        """Where claims do not look at a key, because it has no room."""

        self._openings: list[tuple[datetime, str]] = []
        """When a closed key may have room again, although no record has ended."""

        self._opens_at: dict[str, datetime] = {}
        """The next of these moments for each key."""

        self._met: list[tuple[Heaps, str]] = []
        """The keys with room that the running claim has met."""

        self._looked_at: datetime | None = None
        self._amended = 0
        self._crowded = CROWDED

    def add(self, record: QueuedTaskRecord, *, is_due: bool) -> None:
        """Add a pending record."""
        place = (record.execution_backend, record.queue)
        heaps = self._heaps.get(place)
        if heaps is None:
            heaps = self._heaps[place] = Heaps(record.queue, self._is_current, self._fall_due)
        entry = Waiting(-record.priority, record.scheduled_at, record.id.int, record.epoch, record.concurrency_key)
        if is_due and entry.key is None:  # The usual case, without another call.
            heappush(heaps.plain, entry)
        elif is_due:
            heaps.add(entry)
        else:
            heaps.postpone(entry)

    def amended(self, number: int) -> None:
        """Count amendments, each of which leaves a stale entry, and drop these when they may be half of all entries."""
        self._amended += number
        if self._amended >= self._crowded:
            left = sum(heaps.drop_all_stale() for heaps in self._heaps.values())
            self._amended, self._crowded = 0, max(CROWDED, left)

    def reopen(self, key: str) -> None:
        """Let claims look at a key again, because a slot or its first entry may be free."""
        for heaps in self._closed.pop(key, ()):
            heaps.reopen(key)

    def choose(self, backends: Iterable[str], *, open_to: Callable[[str], bool], at: datetime) -> list[Heaps]:
        """Find the heaps of these execution backends and of open queues that have entries."""
        if self._looked_at is not None and at < self._looked_at:  # The clock was set back.
            for key in list(self._closed):
                self.reopen(key)
        self._looked_at = at
        while self._openings and self._openings[0][0] <= at:
            moment, key = heappop(self._openings)
            if self._opens_at.get(key) == moment:
                del self._opens_at[key]
            self.reopen(key)
        wanted = frozenset(backends)
        chosen: list[Heaps] = []
        for (backend, queue), heaps in self._heaps.items():
            if backend in wanted and open_to(queue):
                heaps.promote(at)
                heaps.drop_stale()
                if heaps.plain or heaps.keyed or heaps.later:
                    chosen.append(heaps)
        return chosen

    def take(self, chosen: Iterable[Heaps], limit: int) -> Iterator[Waiting]:
        """Remove at most *limit* due entries without a key in the order of claims, without regard to limits."""
        tops = [(heaps.plain[0], number, heaps) for number, heaps in enumerate(chosen) if heaps.plain]
        heapify(tops)
        while tops and limit > 0:
            _, number, heaps = heappop(tops)
            yield heappop(heaps.plain)
            limit -= 1
            heaps.drop_stale()
            if heaps.plain:
                heappush(tops, (heaps.plain[0], number, heaps))

    def limited(
        self,
        heaps: Heaps,
        state: QueueState,
        records: Mapping[int, QueuedTaskRecord],
        *,
        limit: int,
        allowances: Allowances,
    ) -> Iterator[Partition[Waiting]]:
        """
        Make the partitions to pick at most *limit* entries from.

        In the order of claims, the first entries of *limit* keys with room come before every entry of another key, so
        the other keys do not count. A key without room is closed until it may have room again. Call :meth:`settle`
        after the choice.
        """
        yield heaps.partition(None, state, records)
        if state.draining is not None:
            for key in list(heaps.keyed):
                yield heaps.partition(key, state, records)
            return
        for first in heaps.firsts() if limit else ():
            assert first.key is not None
            record = records[first.number]
            partition = Partition(
                heaps.queue, heaps.in_order(first.key), key=first.key, limits=record.limits, queue_limits=state.limits
            )
            yield partition
            if allowances.room(partition.by_key, 1):
                self._met.append((heaps, first.key))
                limit -= 1
                if not limit:
                    return
                continue
            self._closed.setdefault(first.key, {})[heaps] = None
            # The limits of another first entry may be other ones.
            moments = (allowances.opens_at(partition.by_key), record.expires_at)
            moment = min((moment for moment in moments if moment is not None), default=None)
            if moment is not None and moment < self._opens_at.get(first.key, LAST):
                self._opens_at[first.key] = moment
                heappush(self._openings, (moment, first.key))

    def settle(self) -> bool:
        """After a choice, open the keys that had room; say whether any key is closed."""
        while self._met:
            heaps, key = self._met.pop()
            heaps.reopen(key)
        return bool(self._closed)

    def due(self, at: datetime, records: Mapping[int, QueuedTaskRecord]) -> dict[str, DueRecords]:
        """Count the due records by queue, and find the moment since which the oldest has waited."""
        moments: defaultdict[str, list[datetime]] = defaultdict(list)
        for heaps in self._heaps.values():
            heaps.promote(at)
            for heap in (heaps.plain, *heaps.keyed.values()):
                moments[heaps.queue] += (
                    _due_since(entry, records[entry.number]) for entry in heap if self._is_current(entry)
                )
        return {queue: DueRecords(len(each), min(each)) for queue, each in moments.items() if each}


def _due_since(entry: Waiting, record: QueuedTaskRecord) -> datetime:
    """Return since when a record is due; its turn may be earlier than the record."""
    return entry.scheduled_at if record.fairness_key is None else max(entry.scheduled_at, record.created_at)
