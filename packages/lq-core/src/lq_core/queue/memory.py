"""
Records kept in this process, for tests and for work that may be lost: gone when the process ends.

Every verb finishes without waiting for anything, so that each is one transaction by itself.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from uuid import UUID

from msgspec.structs import replace

from lq_core import lifecycle
from lq_core.clock import utc_now
from lq_core.config import QueueConfig
from lq_core.errors import DuplicateRecordError
from lq_core.queue.base import BaseQueueBackend
from lq_core.queue.lanes import Line, Lines, Waiting
from lq_core.queue.limits import Lane, pick
from lq_core.queue.messages import (
    Claim,
    Claimed,
    Freed,
    Insertion,
    QueueState,
    RecordFilter,
    Statistics,
    Swap,
    WorkerInfo,
)
from lq_core.queue.permits import Permits
from lq_core.record import OWNED, TERMINAL, QueuedTaskRecord, TaskStatus
from lq_core.schedule_state import ScheduleState


class InMemoryQueueBackend(BaseQueueBackend):
    """
    Keeps records in memory: the quickest backend, and the only one that forgets.

    One object serves one process; a second object knows nothing of the first one's records.
    """

    def __init__(self, config: QueueConfig | None = None, *, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(config, clock=clock)
        self._records: dict[int, QueuedTaskRecord] = {}
        self._numbers: list[int] = []
        """Every id as a number, in order; ids of deleted records stay until half of them are gone."""
        self._keys: dict[str, int] = {}
        self._lines = Lines(self._is_claimable)
        self._expiring: list[tuple[datetime, int, int]] = []
        self._ended: dict[TaskStatus, list[tuple[datetime, int, int]]] = {status: [] for status in TERMINAL}
        self._running: set[int] = set()
        self._stopping: set[int] = set()
        self._blocked: set[int] = set()
        self._counts: Counter[tuple[str, TaskStatus]] = Counter()
        self._workers: dict[str, WorkerInfo] = {}
        self._queues: dict[str, QueueState] = {}
        self._schedules: dict[str, ScheduleState] = {}
        self._permits = Permits(lambda queue: sum(self._counts[queue, status] for status in OWNED))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} records={len(self._records)} workers={len(self._workers)}>"

    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """Store new records; a record whose key is held is answered with the holder."""
        at = self.now()
        numbers = [record.id.int for record in records]
        if len(set(numbers)) < len(numbers) or not self._records.keys().isdisjoint(numbers):
            twice = [number for number in numbers if number in self._records or numbers.count(number) > 1]
            raise DuplicateRecordError(str(UUID(int=twice[0])))
        insertions: list[Insertion] = []
        for record in records:
            holder = None if record.key is None or record.key_released else self._holder(record.key, at)
            if holder is None:
                self._add(_copy(record), at)
                insertions.append(Insertion(record, created=True))
            else:
                insertions.append(Insertion(_copy(holder), created=False))
        return insertions

    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        """Let pending records ask for something else."""
        at = self.now()
        stored = ((self._records.get(swap.record.id.int), swap) for swap in swaps)
        return [old is not None and not old.key_released and self._swap(swap, at) for old, swap in stored]

    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        """Swap records, then claim due ones."""
        at = self.now()
        kept = [self._swap(swap, at) for swap in swaps]
        if claim is None:
            return kept, Claimed()
        if claim.worker_id not in self._workers:
            return kept, Claimed(alive=False)
        lines = self._lines.pick(claim.execution_backends, open_to=self._open_to(claim), at=at)
        if not any(line.key is not None or line.queue in self._queues for line in lines):
            return kept, Claimed(records=tuple(self._start(e, claim, at) for e in self._lines.take(lines, claim.limit)))
        allowances = self._permits.allowances(at)
        entries, held_back = pick([lane for lane, _ in map(self._lane_of, lines)], claim.limit, allowances)
        taken = tuple(self._start(entry, claim, at) for entry in entries)
        self._permits.keep(allowances, at)
        return kept, Claimed(records=taken, held_back=held_back)

    async def get_many(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        """Read the records of these ids that exist."""
        return self._read(dict.fromkeys(record_id.int for record_id in ids))

    async def find(
        self, condition: RecordFilter, *, limit: int = 100, before: UUID | None = None, after: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        """Read one page of the records that match."""
        start = 0 if after is None else bisect_right(self._numbers, after.int)
        stop = len(self._numbers) if before is None else bisect_left(self._numbers, before.int)
        order = range(start, stop) if after is not None else range(stop - 1, start - 1, -1)
        page: list[QueuedTaskRecord] = []
        for index in order:
            if len(page) == limit:
                break
            record = self._records.get(self._numbers[index])
            if record is not None and condition.matches(record):
                page.append(_copy(record))
        return page

    async def count(self, condition: RecordFilter) -> int:
        """Count the records that match."""
        return sum(condition.matches(record) for record in self._records.values())

    async def statistics(self) -> Statistics:
        """Count the records, and tell how long the oldest due one has waited."""
        counts: dict[str, dict[TaskStatus, int]] = {}
        for (queue, status), count in self._counts.items():
            if count:
                counts.setdefault(queue, {})[status] = count
        return Statistics(counts=counts, oldest_due=self._lines.oldest_due(self.now()))

    async def register(self, worker: WorkerInfo) -> None:
        """Make a worker known and alive."""
        self._workers[worker.id] = replace(worker, seen_at=self.now())

    async def beat(self, worker_id: str) -> bool:
        """Say that a worker is alive; False if it is not registered."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            self._workers[worker_id] = replace(worker, seen_at=self.now())
        return worker is not None

    async def retire(self, worker_id: str) -> None:
        """Forget a worker."""
        self._workers.pop(worker_id, None)

    async def workers(self) -> Sequence[WorkerInfo]:
        """Read the registered workers."""
        return list(self._workers.values())

    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        """Declare workers dead unheard of for *timeout* seconds, and read running records whose worker is gone."""
        at = self.now()
        lapsed = at - timedelta(seconds=timeout)
        # A beat that lies ahead was heard before the clock was set back.
        self._workers = {
            name: worker if worker.seen_at <= at else replace(worker, seen_at=at)
            for name, worker in self._workers.items()
            if worker.seen_at > lapsed
        }
        lost = (number for number in sorted(self._running) if self._records[number].worker_id not in self._workers)
        return [_copy(self._records[number]) for number, _ in zip(lost, range(limit), strict=False)]

    async def overdue(self, *, limit: int) -> Sequence[QueuedTaskRecord]:
        """Read pending records whose ``expires_at`` has passed."""
        at = self.now()
        passed: list[tuple[datetime, int, int]] = []
        while self._expiring and self._expiring[0][0] <= at and len(passed) < limit:
            entry = heappop(self._expiring)
            record = self._records.get(entry[1])
            if record is not None and record.epoch == entry[2] and lifecycle.is_overdue(record, at=at):
                passed.append(entry)
        for entry in passed:
            heappush(self._expiring, entry)
        return self._read(number for _, number, _ in passed)

    async def freed(self, *, limit: int) -> Freed:
        """Read blocked records of which every one that they come after has ended, or is there no more."""
        free = [number for number in sorted(self._blocked) if self._waits_for_nothing(self._records[number])][:limit]
        return Freed(records=self._read(free), others_wait=len(self._blocked) > len(free))

    async def request_cancel(self, record_id: UUID, epoch: int) -> bool:
        """Mark a dispatched or running record as asked to stop; False when the epoch is over."""
        record = self._records.get(record_id.int)
        if record is None or record.epoch != epoch or record.status not in OWNED:
            return False
        self._records[record_id.int] = lifecycle.request_cancel(record)
        self._stopping.add(record_id.int)
        return True

    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        """Read every record that has not ended and has been asked to stop."""
        return self._read(sorted(self._stopping))

    async def delete_ended(self, *, status: TaskStatus, before: datetime, limit: int) -> int:
        """Delete at most *limit* records of this status that ended before a moment."""
        at = self.now()
        ended = self._ended[status]
        kept: list[tuple[datetime, int, int]] = []
        deleted = 0
        while ended and ended[0][0] < before and deleted < limit:
            entry = heappop(ended)
            record = self._records.get(entry[1])
            if record is None or record.epoch != entry[2]:
                continue
            if lifecycle.holds_key(record, at=at):
                kept.append(entry)
            else:
                self._delete(record)
                deleted += 1
        for entry in kept:
            heappush(ended, entry)
        self._forget_numbers()
        return deleted

    async def delete_many(self, ids: Sequence[UUID]) -> int:
        """Delete those of these records that have ended and hold no key."""
        at = self.now()
        found = [self._records[one.int] for one in dict.fromkeys(ids) if one.int in self._records]
        ended = [record for record in found if record.has_ended and not lifecycle.holds_key(record, at=at)]
        for record in ended:
            self._delete(record)
        self._forget_numbers()
        return len(ended)

    async def next_due(self, claim: Claim) -> datetime | None:
        """Tell when the next record that this claim could take becomes due."""
        at = self.now()
        allowances = self._permits.allowances(at)
        moments: list[datetime] = []
        lines = self._lines.pick(claim.execution_backends, open_to=self._open_to(claim), at=at)
        for lane, later in map(self._lane_of, lines):
            moments += [moment for moment, _ in later]
            for entry in lane.places:
                opens_at = allowances.opens_at(lane)
                if opens_at is not None:
                    moments.append(max(opens_at, entry.scheduled_at))
                break
        return min(moments, default=None)

    async def swap_queue(self, queue: str, old: QueueState, new: QueueState) -> bool:
        """Keep *new* as the state of a queue if *old* is what is kept."""
        if self._queues.get(queue, QueueState()) != old:
            return False
        self._queues[queue] = new
        self.wake()
        return True

    async def queues(self) -> Mapping[str, QueueState]:
        """Read the state of the queues that somebody has set one for."""
        return dict(self._queues)

    async def schedules(self) -> Sequence[ScheduleState]:
        """Read what is remembered of every schedule."""
        return list(self._schedules.values())

    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        """Keep the next version of a schedule's state together with new records."""
        known = self._schedules.get(state.name)
        if state.version != (1 if known is None else known.version + 1):
            return False
        _ = await self.insert_many([record for record in records if record.id.int not in self._records])
        self._schedules[state.name] = state
        self.wake()
        return True

    def _read(self, numbers: Iterable[int]) -> list[QueuedTaskRecord]:
        return [_copy(self._records[number]) for number in numbers if number in self._records]

    def _add(self, record: QueuedTaskRecord, at: datetime) -> None:
        number = record.id.int
        self._records[number] = record
        if not self._numbers or number > self._numbers[-1]:
            self._numbers.append(number)
        else:
            insort(self._numbers, number)
        if record.key is not None and not record.key_released:
            self._keys[record.key] = number
        self._file(record, at)

    def _swap(self, swap: Swap, at: datetime) -> bool:
        number = swap.record.id.int
        old = self._records.get(number)
        if old is None or old.epoch != swap.epoch:
            return False
        asked = old.cancel_requested and not swap.record.has_ended
        released = old.key_released or swap.record.key_released
        new = swap.record
        if (new.cancel_requested, new.key_released) != (asked, released):
            new = replace(new, cancel_requested=asked, key_released=released)
        self._unfile(old)
        self._records[number] = new
        self._let_go(old, new)
        self._file(new, at)
        return True

    def _start(self, entry: Waiting, claim: Claim, at: datetime) -> QueuedTaskRecord:
        record = self._records[entry.number]
        self._unfile(record)
        if claim.to is TaskStatus.RUNNING:
            record = lifecycle.claim(record, worker_id=claim.worker_id, at=at)
        else:
            record = lifecycle.dispatch(record, at=at)
        self._let_go(self._records[entry.number], record)
        self._records[entry.number] = record
        self._file(record, at)
        return _copy(record)

    def _holder(self, key: str, at: datetime) -> QueuedTaskRecord | None:
        number = self._keys.get(key)
        if number is None:
            return None
        holder = self._records[number]
        if lifecycle.holds_key(holder, at=at):
            return holder
        del self._keys[key]
        self._records[number] = lifecycle.release_key(holder)
        return None

    def _let_go(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> None:
        if old.key is not None and new.key_released and not old.key_released:
            del self._keys[old.key]

    def _forget_numbers(self) -> None:
        if len(self._numbers) > 2 * len(self._records):
            self._numbers = [number for number in self._numbers if number in self._records]

    def _delete(self, record: QueuedTaskRecord) -> None:
        self._unfile(record)
        del self._records[record.id.int]
        if record.key is not None and not record.key_released:
            del self._keys[record.key]

    def _file(self, record: QueuedTaskRecord, at: datetime) -> None:
        number, status = record.id.int, record.status
        self._counts[record.queue, status] += 1
        self._permits.take(record)
        if record.cancel_requested:
            self._stopping.add(number)
        if status is TaskStatus.PENDING:
            if record.blocked:
                self._blocked.add(number)
            elif not record.cancel_requested:
                self._lines.add(record, at)
            if record.expires_at is not None:
                heappush(self._expiring, (record.expires_at, number, record.epoch))
        elif status is TaskStatus.RUNNING:
            self._running.add(number)
        elif record.finished_at is not None and status in TERMINAL:
            heappush(self._ended[status], (record.finished_at, number, record.epoch))

    def _unfile(self, record: QueuedTaskRecord) -> None:
        number, status = record.id.int, record.status
        self._counts[record.queue, status] -= 1
        self._permits.give_back(record)
        if record.cancel_requested:
            self._stopping.discard(number)
        if record.blocked:
            self._blocked.discard(number)
        if status is TaskStatus.RUNNING:
            self._running.discard(number)

    def _is_claimable(self, entry: Waiting) -> bool:
        record = self._records.get(entry.number)
        return (
            record is not None
            and record.epoch == entry.epoch
            and record.status is TaskStatus.PENDING
            and not record.cancel_requested
            and (record.expires_at is None or record.expires_at > self.now())
        )

    def _waits_for_nothing(self, record: QueuedTaskRecord) -> bool:
        before = record.after.ids if record.after else ()
        return all(found.has_ended for one in before if (found := self._records.get(one.int)) is not None)

    def _lane_of(self, line: Line) -> tuple[Lane[Waiting], list[tuple[datetime, Waiting]]]:
        return self._lines.lane(line, self._queues.get(line.queue) or QueueState(), self._records)

    def _open_to(self, claim: Claim) -> Callable[[str], bool]:
        wanted = None if claim.queues is None else frozenset(claim.queues)
        closed = {queue for queue, state in self._queues.items() if state.paused}
        return lambda queue: queue not in closed and (wanted is None or queue in wanted)


def _copy(record: QueuedTaskRecord) -> QueuedTaskRecord:
    return replace(record, metadata=dict(record.metadata)) if record.metadata else record
