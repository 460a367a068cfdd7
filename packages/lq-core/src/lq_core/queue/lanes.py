"""
Waiting records in the order in which they are claimed: one pair of heaps a lane, and nothing is ever sorted.

A line is one queue of one execution backend, under one concurrency key or under none. Entries are never taken out
from the middle: one whose record has moved on in the meantime is dropped when it comes to the top, or when too many
have gathered.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from lq_core.queue.limits import Lane
from lq_core.queue.messages import QueueState
from lq_core.record import QueuedTaskRecord

CROWDED = 1000
"""So many entries that wait for their time are looked through for stale ones, and again at twice what is left."""


class Waiting(NamedTuple):
    """A record that waits, by what decides whose turn it is."""

    rank: int
    """The priority, negated: small ranks go first."""

    scheduled_at: datetime
    number: int
    """The record's id as a number."""

    epoch: int


class Line:
    """What waits in one lane: what is due by rank, the rest by time."""

    def __init__(self, queue: str, key: str | None) -> None:
        self.queue = queue
        self.key = key
        self.due: list[Waiting] = []
        self.later: list[tuple[datetime, Waiting]] = []
        self.crowded = CROWDED

    def promote(self, at: datetime) -> None:
        """Line up what has become due."""
        while self.later and self.later[0][0] <= at:
            heappush(self.due, heappop(self.later)[1])

    def thin_out(self, is_current: Callable[[Waiting], bool]) -> None:
        """Drop stale entries wherever they are: a record that is put off again and again leaves one each time."""
        self.later = [each for each in self.later if is_current(each[1])]
        heapify(self.later)
        self.crowded = max(CROWDED, 2 * len(self.later))

    def drop_stale(self, is_current: Callable[[Waiting], bool]) -> None:
        """Take away the entries at both tops whose records are not to be claimed any more."""
        while self.due and not is_current(self.due[0]):
            heappop(self.due)
        while self.later and not is_current(self.later[0][1]):
            heappop(self.later)

    def in_order(self, is_current: Callable[[Waiting], bool]) -> Iterator[Waiting]:
        """Bring what is due, first come first; what has been brought is gone once the next is asked for."""
        while self.due:
            if is_current(self.due[0]):
                yield self.due[0]
            heappop(self.due)


class Lines:
    """Every line there is; *is_current* tells whether the record of an entry may still be claimed."""

    def __init__(self, is_current: Callable[[Waiting], bool]) -> None:
        self._is_current = is_current
        self._lines: dict[tuple[str, str, str | None], Line] = {}

    def add(self, record: QueuedTaskRecord, at: datetime) -> None:
        """Line up a pending record."""
        place = (record.execution_backend, record.queue, record.concurrency_key)
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = Line(record.queue, record.concurrency_key)
        entry = Waiting(-record.priority, record.scheduled_at, record.id.int, record.epoch)
        if record.scheduled_at <= at:
            heappush(line.due, entry)
        else:
            heappush(line.later, (record.scheduled_at, entry))
            if len(line.later) >= line.crowded:
                line.thin_out(self._is_current)

    def pick(self, backends: Iterable[str], *, open_to: Callable[[str], bool], at: datetime) -> list[Line]:
        """Choose the lines of these execution backends and of the queues that are open, with stale tops dropped."""
        wanted = frozenset(backends)
        chosen: list[Line] = []
        for (backend, queue, key), line in list(self._lines.items()):
            if backend in wanted and open_to(queue):
                line.promote(at)
                line.drop_stale(self._is_current)
                if line.due or line.later:
                    chosen.append(line)
                elif key is not None:  # There may be any number of keys over time.
                    del self._lines[backend, queue, key]
        return chosen

    def take(self, lines: Iterable[Line], limit: int) -> Iterator[Waiting]:
        """Take at most *limit* due entries out of these lines, first come first, whatever the limits."""
        tops = [(line.due[0], number, line) for number, line in enumerate(lines) if line.due]
        heapify(tops)
        while tops and limit > 0:
            _, number, line = heappop(tops)
            yield heappop(line.due)
            limit -= 1
            line.drop_stale(self._is_current)
            if line.due:
                heappush(tops, (line.due[0], number, line))

    def lane(
        self, line: Line, state: QueueState, records: Mapping[int, QueuedTaskRecord]
    ) -> tuple[Lane[Waiting], list[tuple[datetime, Waiting]]]:
        """Make the lane of a line to pick from, and tell beside it the first record that it is too early for."""
        places, later = line.in_order(self._is_current), line.later[:1]
        head = line.due[0] if line.due else None
        if state.draining is not None:
            until = state.draining
            due = sorted(filter(self._is_current, line.due))
            due = [entry for entry in due if records[entry.number].created_at < until]
            places, head = iter(due), due[0] if due else None
            later = sorted(each for each in line.later if self._is_current(each[1]))
            later = [each for each in later if records[each[1].number].created_at < until][:1]
        limits = None if head is None else records[head.number].limits
        return Lane(line.queue, places, key=line.key, limits=limits, queue_limits=state.limits), later

    def oldest_due(self, at: datetime) -> datetime | None:
        """Tell since when the record that has waited longest has been due; None when none is."""
        moments: list[datetime] = []
        for line in self._lines.values():
            line.promote(at)
            moments.extend(entry.scheduled_at for entry in line.due if self._is_current(entry))
        return min(moments, default=None)
