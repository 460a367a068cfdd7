"""Records in the memory of this process, filed under all that they are looked for by."""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from heapq import heappop, heappush
from typing import TypeAlias
from uuid import UUID

from lq_core import lifecycle
from lq_core.queue.lanes import Lines, Waiting
from lq_core.queue.permits import Permits
from lq_core.record import OWNED, TERMINAL, QueuedTaskRecord, TaskStatus

_Moment: TypeAlias = tuple[datetime, int, int]
"""A moment, the number of the record that comes to it, and the epoch for which it counts."""


class Ledger:
    """
    The records by their ids as numbers, which are cheaper to look for than UUIDs.

    Heaps keep entries of records that have moved on, until they come to the top.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.records: dict[int, QueuedTaskRecord] = {}
        self._numbers: list[int] = []
        """All numbers in order; those of deleted records stay until half of them are gone."""
        self._keys: dict[str, int] = {}
        self._expiring: list[_Moment] = []
        self._ended: dict[TaskStatus, list[_Moment]] = {status: [] for status in TERMINAL}
        self.lines = Lines(self._is_claimable)
        self.running: set[int] = set()
        self.stopping: set[int] = set()
        self.blocked: set[int] = set()
        self.counts: Counter[tuple[str, TaskStatus]] = Counter()
        self.permits = Permits(lambda queue: sum(self.counts[queue, status] for status in OWNED))

    def between(self, after: UUID | None, before: UUID | None) -> Iterator[QueuedTaskRecord]:
        """Go through the records between two ids: newest first, or oldest first where *after* is given."""
        start = 0 if after is None else bisect_right(self._numbers, after.int)
        stop = len(self._numbers) if before is None else bisect_left(self._numbers, before.int)
        for index in range(start, stop) if after is not None else range(stop - 1, start - 1, -1):
            record = self.records.get(self._numbers[index])
            if record is not None:
                yield record

    def holder(self, key: str, at: datetime) -> QueuedTaskRecord | None:
        """Find who holds a key; one that has lapsed lets go of it."""
        number = self._keys.get(key)
        if number is None:
            return None
        holder = self.records[number]
        if lifecycle.holds_key(holder, at=at):
            return holder
        del self._keys[key]
        self.records[number] = lifecycle.release_key(holder)
        return None

    def add(self, record: QueuedTaskRecord, at: datetime) -> None:
        """Take in a new record."""
        number = record.id.int
        self.records[number] = record
        if not self._numbers or number > self._numbers[-1]:
            self._numbers.append(number)
        else:
            insort(self._numbers, number)
        if record.key is not None and not record.key_released:
            self._keys[record.key] = number
        self._file(record, at)

    def turn(self, old: QueuedTaskRecord, new: QueuedTaskRecord, at: datetime) -> None:
        """Put *new* in the place of *old*, which is there."""
        self._unfile(old)
        self.records[new.id.int] = new
        if old.key is not None and new.key_released and not old.key_released:
            del self._keys[old.key]
        self._file(new, at)

    def ask_to_stop(self, record: QueuedTaskRecord) -> None:
        """Mark a record, which stays where it is filed."""
        self.records[record.id.int] = lifecycle.request_cancel(record)
        self.stopping.add(record.id.int)

    def delete(self, records: Iterable[QueuedTaskRecord]) -> int:
        """Delete records that have ended, and say how many."""
        deleted = 0
        for record in records:
            self._unfile(record)
            del self.records[record.id.int]
            if record.key is not None and not record.key_released:
                del self._keys[record.key]
            deleted += 1
        if len(self._numbers) > 2 * len(self.records):
            self._numbers = [number for number in self._numbers if number in self.records]
        return deleted

    def overdue(self, at: datetime, *, limit: int) -> list[QueuedTaskRecord]:
        """Look for pending records whose expiry has passed, the longest overdue first."""
        return self._first(
            self._expiring,
            limit,
            until=lambda moment: moment <= at,
            wanted=lambda record: lifecycle.is_overdue(record, at=at),
        )

    def ended(self, status: TaskStatus, before: datetime, at: datetime, *, limit: int) -> list[QueuedTaskRecord]:
        """Look for records of a status that ended before a moment and hold no key, the oldest end first."""
        return self._first(
            self._ended[status],
            limit,
            until=lambda moment: moment < before,
            wanted=lambda record: not lifecycle.holds_key(record, at=at),
        )

    def _first(
        self,
        heap: list[_Moment],
        limit: int,
        *,
        until: Callable[[datetime], bool],
        wanted: Callable[[QueuedTaskRecord], bool],
    ) -> list[QueuedTaskRecord]:
        found: list[QueuedTaskRecord] = []
        current: list[_Moment] = []
        while heap and until(heap[0][0]) and len(found) < limit:
            entry = heappop(heap)
            record = self.records.get(entry[1])
            if record is not None and record.epoch == entry[2]:
                current.append(entry)
                if wanted(record):
                    found.append(record)
        for entry in current:
            heappush(heap, entry)
        return found

    def _file(self, record: QueuedTaskRecord, at: datetime) -> None:
        number, status = record.id.int, record.status
        self.counts[record.queue, status] += 1
        self.permits.take(record)
        if record.cancel_requested:
            self.stopping.add(number)
        if status is TaskStatus.PENDING:
            if record.blocked:
                self.blocked.add(number)
            elif not record.cancel_requested:
                self.lines.add(record, at)
            if record.expires_at is not None:
                heappush(self._expiring, (record.expires_at, number, record.epoch))
        elif status is TaskStatus.RUNNING:
            self.running.add(number)
        elif record.finished_at is not None and status in TERMINAL:
            heappush(self._ended[status], (record.finished_at, number, record.epoch))

    def _unfile(self, record: QueuedTaskRecord) -> None:
        number, status = record.id.int, record.status
        self.counts[record.queue, status] -= 1
        self.permits.give_back(record)
        if record.cancel_requested:
            self.stopping.discard(number)
        if record.blocked:
            self.blocked.discard(number)
        if status is TaskStatus.RUNNING:
            self.running.discard(number)

    def _is_claimable(self, entry: Waiting) -> bool:
        record = self.records.get(entry.number)
        return (
            record is not None
            and record.epoch == entry.epoch
            and record.status is TaskStatus.PENDING
            and not record.cancel_requested
            and (record.expires_at is None or record.expires_at > self._clock())
        )
