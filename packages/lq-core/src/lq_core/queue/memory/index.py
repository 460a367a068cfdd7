"""The index of records in memory: the records, and what the backend looks them up by."""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from heapq import heappop, heappush
from itertools import islice
from typing import TypeAlias
from uuid import UUID

from msgspec.structs import replace

from lq_core.queue.fairness import tenant_of
from lq_core.queue.limits import Allowances, Subject
from lq_core.queue.memory.fairness import WaitingTurns
from lq_core.queue.memory.partitions import Partitions, Waiting
from lq_core.records import lifecycle
from lq_core.records.record import OWNED, TERMINAL, QueuedTaskRecord, TaskStatus

_Moment: TypeAlias = tuple[datetime, int, int]
"""A moment, the number of its record, and the epoch for which it counts."""


class RecordIndex:
    """
    The records by their ids as numbers, which are cheaper to look up than UUIDs.

    Heaps keep the entries of records that have changed until they come to the top.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.records: dict[int, QueuedTaskRecord] = {}
        self.changes = 0
        """How often anything was written, here or in the backend."""

        self._numbers: list[int] = []
        """All numbers in order; those of deleted records stay until they are half of all."""
        self._keys: dict[str, int] = {}
        self._expiring: list[_Moment] = []
        self._ended: dict[TaskStatus, list[_Moment]] = {status: [] for status in TERMINAL}
        self.partitions = Partitions(self._is_claimable, self._fall_due)
        self._turns = WaitingTurns()
        self.running: set[int] = set()
        self.stopping: set[int] = set()
        self.blocked: set[int] = set()
        self.successors: dict[int, dict[int, None]] = {}
        """The blocked records that come after a record, by its number."""

        self.counts: Counter[tuple[str, TaskStatus]] = Counter()
        self._semaphores: Counter[str] = Counter()
        """How many records of each concurrency key run or are dispatched."""
        self._buckets: dict[Subject, datetime] = {}
        self._full_at: list[tuple[datetime, Subject]] = []
        """When each bucket is full, and is not kept any more; an entry of a bucket that has changed is passed over."""

    def oldest_of(self, newest: int) -> int:
        """Return the number of the oldest of the newest records; 0 if there are fewer."""
        numbers = (number for number in reversed(self._numbers) if number in self.records)
        return next(islice(numbers, newest - 1, None), 0)

    def between(self, after: UUID | None, before: UUID | None, *, oldest: int = 0) -> Iterator[QueuedTaskRecord]:
        """Iterate over the records between two ids, from *oldest* on: newest first, or oldest first with *after*."""
        start = max(0 if after is None else bisect_right(self._numbers, after.int), bisect_left(self._numbers, oldest))
        stop = len(self._numbers) if before is None else bisect_left(self._numbers, before.int)
        for index in range(start, stop) if after is not None else range(stop - 1, start - 1, -1):
            record = self.records.get(self._numbers[index])
            if record is not None:
                yield record

    def holder(self, key: str, at: datetime) -> QueuedTaskRecord | None:
        """Find the holder of a key; release the key if the holder has lapsed."""
        number = self._keys.get(key)
        if number is None:
            return None
        holder = self.records[number]
        if lifecycle.holds_key(holder, at=at):
            return holder
        del self._keys[key]
        self.records[number] = lifecycle.release_key(holder)
        self.changes += 1
        return None

    def add(self, record: QueuedTaskRecord, at: datetime) -> QueuedTaskRecord:
        """Add a new record, and return what is stored."""
        number = record.id.int
        self.records[number] = record
        if not self._numbers or number > self._numbers[-1]:
            self._numbers.append(number)
        else:
            insort(self._numbers, number)
        if record.key is not None and not record.key_released:
            self._keys[record.key] = number
        self._file(record, at, is_new=True)
        return self.records[number]

    def swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord, at: datetime) -> None:
        """Replace the stored record *old* by *new*."""
        turn = self._unfile(old)
        self.records[new.id.int] = new
        if old.key is not None and new.key_released and not old.key_released:
            del self._keys[old.key]
        self._file(new, at, had=turn)

    def request_cancel(self, record: QueuedTaskRecord) -> None:
        """Mark a record, which may release its key; its other entries stay the same."""
        self.records[record.id.int] = asked = lifecycle.request_cancel(record)
        self.changes += 1
        if record.key is not None and asked.key_released and not record.key_released:
            del self._keys[record.key]
        self.stopping.add(record.id.int)

    def delete(self, records: Sequence[QueuedTaskRecord]) -> int:
        """Delete ended records, and return how many."""
        for record in records:
            _ = self._unfile(record)
            del self.records[record.id.int]
            if record.key is not None and not record.key_released:
                del self._keys[record.key]
        if len(self._numbers) > 2 * len(self.records):
            self._numbers = [number for number in self._numbers if number in self.records]
        return len(records)

    def overdue(self, at: datetime, *, limit: int) -> list[QueuedTaskRecord]:
        """Find the pending records whose ``expires_at`` has passed, the longest overdue first."""
        return self._first(
            self._expiring, limit, lambda moment: moment <= at, lambda record: lifecycle.is_overdue(record, at=at)
        )

    def ended(self, status: TaskStatus, before: datetime, at: datetime, *, limit: int) -> list[QueuedTaskRecord]:
        """Find the records of a status that ended before a moment and hold no key, the oldest end first."""
        heap = self._ended[status]
        return self._first(
            heap, limit, lambda moment: moment < before, lambda record: not lifecycle.holds_key(record, at=at)
        )

    def allowances(self, at: datetime) -> Allowances:
        """Read what the limits allow at a moment."""
        return Allowances(at, running=self._running, full_at=self._buckets.get)

    def keep(self, allowances: Allowances, at: datetime) -> None:
        """Store the buckets that have changed, and drop full ones."""
        for subject, full_at in allowances.changed.items():
            self._buckets[subject] = full_at
            heappush(self._full_at, (full_at, subject))
        while self._full_at and self._full_at[0][0] <= at:
            full_at, subject = heappop(self._full_at)
            if self._buckets.get(subject) == full_at:
                del self._buckets[subject]

    def _running(self, subject: Subject) -> int:
        if subject.kind == "key":
            return self._semaphores[subject.name]
        return sum(self.counts[subject.name, status] for status in OWNED)

    def _first(
        self,
        heap: list[_Moment],
        limit: int,
        is_reached: Callable[[datetime], bool],
        is_wanted: Callable[[QueuedTaskRecord], bool],
    ) -> list[QueuedTaskRecord]:
        found: list[QueuedTaskRecord] = []
        current: list[_Moment] = []
        while heap and is_reached(heap[0][0]) and len(found) < limit:
            entry = heappop(heap)
            record = self.records.get(entry[1])
            if record is not None and record.epoch == entry[2]:
                current.append(entry)
                if is_wanted(record):
                    found.append(record)
        for entry in current:
            heappush(heap, entry)
        return found

    def _file(
        self, record: QueuedTaskRecord, at: datetime, *, is_new: bool = False, had: datetime | None = None
    ) -> None:
        number, status = record.id.int, record.status
        self.changes += 1
        self.counts[record.queue, status] += 1
        if record.concurrency_key is not None and status in OWNED:
            self._semaphores[record.concurrency_key] += 1
        if record.cancel_requested:
            self.stopping.add(number)
        if status is TaskStatus.PENDING:
            self._file_pending(record, at, is_new=is_new, had=had)
        elif status is TaskStatus.RUNNING:
            self.running.add(number)
        elif record.finished_at is not None and status in TERMINAL:
            heappush(self._ended[status], (record.finished_at, number, record.epoch))

    def _file_pending(self, record: QueuedTaskRecord, at: datetime, *, is_new: bool, had: datetime | None) -> None:
        number = record.id.int
        if record.blocked:
            self.blocked.add(number)
            for one in record.after.ids if record.after else ():
                self.successors.setdefault(one.int, {})[number] = None
        elif not record.cancel_requested:
            is_due = record.scheduled_at <= at or record.scheduled_at == had
            if is_due and record.metadata:
                record = self._line_up(record, is_new=is_new, had=had)
            self.partitions.add(record, is_due=is_due)
        if record.expires_at is not None:
            heappush(self._expiring, (record.expires_at, number, record.epoch))

    def _line_up(
        self, record: QueuedTaskRecord, *, is_new: bool = False, had: datetime | None = None
    ) -> QueuedTaskRecord:
        """Give a turn to a record that is due and has a fairness key; *had* is its turn before it was amended."""
        tenant = tenant_of(record)
        if tenant is None:
            return record
        if had is not None and record.scheduled_at == had:
            self._turns.keep(record.id.int, tenant, had)
            return record
        turn = self._turns.give(record.id.int, tenant, due=record.scheduled_at, is_new=is_new)
        record = self.records[record.id.int] = replace(record, scheduled_at=turn)
        self.changes += 1
        return record

    def _fall_due(self, entry: Waiting) -> Waiting:
        record = self.records.get(entry.number)
        if record is None or not record.metadata or record.epoch != entry.epoch:
            return entry
        return entry._replace(scheduled_at=self._line_up(record).scheduled_at)

    def _unfile(self, record: QueuedTaskRecord) -> datetime | None:
        """Take a record out, and return the turn that it had."""
        number, status = record.id.int, record.status
        self.changes += 1
        self.counts[record.queue, status] -= 1
        if record.concurrency_key is not None and status in OWNED:
            self._semaphores[record.concurrency_key] -= 1
            if not self._semaphores[record.concurrency_key]:
                del self._semaphores[record.concurrency_key]
        if record.concurrency_key is not None:
            self.partitions.reopen(record.concurrency_key)
        if record.cancel_requested:
            self.stopping.discard(number)
        if record.blocked:
            self.blocked.discard(number)
            for one in record.after.ids if record.after else ():
                waiting = self.successors.get(one.int, {})
                waiting.pop(number, None)
                if not waiting:
                    self.successors.pop(one.int, None)
        if status is TaskStatus.RUNNING:
            self.running.discard(number)
        return self._turns.take_back(number) if record.metadata else None

    def _is_claimable(self, entry: Waiting) -> bool:
        record = self.records.get(entry.number)
        return (
            record is not None
            and record.epoch == entry.epoch
            and record.status is TaskStatus.PENDING
            and not record.cancel_requested
            and (record.expires_at is None or record.expires_at > self._clock())
        )
