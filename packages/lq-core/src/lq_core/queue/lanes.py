"""
Waiting records in the order in which they are claimed: one pair of heaps a lane, and nothing is ever sorted.

A lane is one queue of one execution backend. Entries are never taken out from the middle: one whose record
has moved on in the meantime is dropped when it comes to the top.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from lq_core.record import QueuedTaskRecord


class Waiting(NamedTuple):
    """A record that waits, by what decides whose turn it is."""

    rank: int
    """The priority, negated: small ranks go first."""

    scheduled_at: datetime
    number: int
    """The record's id as a number."""

    epoch: int


class Lane:
    """What waits in one queue for one execution backend: what is due by rank, the rest by time."""

    def __init__(self) -> None:
        self.due: list[Waiting] = []
        self.later: list[tuple[datetime, Waiting]] = []

    def promote(self, at: datetime) -> None:
        """Line up what has become due."""
        while self.later and self.later[0][0] <= at:
            heappush(self.due, heappop(self.later)[1])

    def drop_stale(self, is_current: Callable[[Waiting], bool]) -> None:
        """Take away the entries at both tops whose records are not to be claimed any more."""
        while self.due and not is_current(self.due[0]):
            heappop(self.due)
        while self.later and not is_current(self.later[0][1]):
            heappop(self.later)

    def next_due(self) -> datetime | None:
        """Tell when the first record becomes due, or since when one has been; None when nothing waits."""
        if self.due:
            return self.due[0].scheduled_at
        return self.later[0][0] if self.later else None


class Lanes:
    """Every lane there is; *is_current* tells whether the record of an entry may still be claimed."""

    def __init__(self, is_current: Callable[[Waiting], bool]) -> None:
        self._is_current = is_current
        self._lanes: dict[tuple[str, str], Lane] = {}

    def add(self, record: QueuedTaskRecord, at: datetime) -> None:
        """Line up a pending record."""
        lane = self._lanes.get((record.execution_backend, record.queue))
        if lane is None:
            lane = self._lanes[record.execution_backend, record.queue] = Lane()
        entry = Waiting(-record.priority, record.scheduled_at, record.id.int, record.epoch)
        if record.scheduled_at <= at:
            heappush(lane.due, entry)
        else:
            heappush(lane.later, (record.scheduled_at, entry))

    def pick(self, backends: Iterable[str], *, open_to: Callable[[str], bool], at: datetime) -> list[Lane]:
        """Choose the lanes of these execution backends and of the queues that are open, with stale tops dropped."""
        wanted = frozenset(backends)
        chosen: list[Lane] = []
        for (backend, queue), lane in self._lanes.items():
            if backend in wanted and open_to(queue):
                lane.promote(at)
                lane.drop_stale(self._is_current)
                chosen.append(lane)
        return chosen

    def take(self, lanes: Iterable[Lane], limit: int) -> Iterator[Waiting]:
        """Take at most *limit* due entries out of these lanes, first come first."""
        tops = [(lane.due[0], number, lane) for number, lane in enumerate(lanes) if lane.due]
        heapify(tops)
        while tops and limit > 0:
            _, number, lane = heappop(tops)
            yield heappop(lane.due)
            limit -= 1
            lane.drop_stale(self._is_current)
            if lane.due:
                heappush(tops, (lane.due[0], number, lane))

    def oldest_due(self, at: datetime) -> datetime | None:
        """Tell since when the record that has waited longest has been due; None when none is."""
        moments: list[datetime] = []
        for lane in self._lanes.values():
            lane.promote(at)
            moments.extend(entry.scheduled_at for entry in lane.due if self._is_current(entry))
        return min(moments, default=None)
