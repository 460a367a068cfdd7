"""
Records kept in this process, for tests and for work that may be lost: gone when the process ends.

Every verb finishes without waiting for anything, so that each is one transaction by itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from msgspec.structs import replace

from lq_core import lifecycle
from lq_core.clock import utc_now
from lq_core.config import QueueConfig
from lq_core.errors import DuplicateRecordError
from lq_core.queue.base import BaseQueueBackend
from lq_core.queue.lanes import Line, Waiting
from lq_core.queue.ledger import Ledger
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
from lq_core.record import OWNED, QueuedTaskRecord, TaskStatus
from lq_core.schedule_state import ScheduleState


class InMemoryQueueBackend(BaseQueueBackend):
    """
    Keeps records in memory: the quickest backend, and the only one that forgets.

    One object serves one process; a second object knows nothing of the first one's records.
    """

    def __init__(self, config: QueueConfig | None = None, *, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(config, clock=clock)
        self._ledger = Ledger(clock)
        self._workers: dict[str, WorkerInfo] = {}
        self._queues: dict[str, QueueState] = {}
        self._schedules: dict[str, ScheduleState] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} records={len(self._ledger.records)} workers={len(self._workers)}>"

    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        at = self.now()
        numbers = [record.id.int for record in records]
        if len(set(numbers)) < len(numbers) or not self._ledger.records.keys().isdisjoint(numbers):
            twice = [number for number in numbers if number in self._ledger.records or numbers.count(number) > 1]
            raise DuplicateRecordError(str(UUID(int=twice[0])))
        insertions: list[Insertion] = []
        for record in records:
            holder = None if record.key is None or record.key_released else self._ledger.holder(record.key, at)
            if holder is None:
                self._ledger.add(_copy(record), at)
                insertions.append(Insertion(record, created=True))
            else:
                insertions.append(Insertion(_copy(holder), created=False))
        return insertions

    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        at = self.now()
        stored = ((self._ledger.records.get(swap.record.id.int), swap) for swap in swaps)
        return [old is not None and not old.key_released and self._swap(swap, at) for old, swap in stored]

    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        at = self.now()
        kept = [self._swap(swap, at) for swap in swaps]
        if claim is None:
            return kept, Claimed()
        if claim.worker_id not in self._workers:
            return kept, Claimed(alive=False)
        lines = self._ledger.lines.pick(claim.execution_backends, open_to=self._open_to(claim), at=at)
        if not any(line.key is not None or line.queue in self._queues for line in lines):
            return kept, Claimed(
                records=tuple(self._start(e, claim, at) for e in self._ledger.lines.take(lines, claim.limit))
            )
        allowances = self._ledger.permits.allowances(at)
        entries, held_back = pick([lane for lane, _ in map(self._lane_of, lines)], claim.limit, allowances)
        taken = tuple(self._start(entry, claim, at) for entry in entries)
        self._ledger.permits.keep(allowances, at)
        return kept, Claimed(records=taken, held_back=held_back)

    async def get_many(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        return self._read(dict.fromkeys(record_id.int for record_id in ids))

    async def find(
        self, condition: RecordFilter, *, limit: int = 100, before: UUID | None = None, after: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        found = filter(condition.matches, self._ledger.between(after, before))
        return [_copy(record) for record in islice(found, limit)]

    async def count(self, condition: RecordFilter) -> int:
        return sum(condition.matches(record) for record in self._ledger.records.values())

    async def statistics(self) -> Statistics:
        counts: dict[str, dict[TaskStatus, int]] = {}
        for (queue, status), count in self._ledger.counts.items():
            if count:
                counts.setdefault(queue, {})[status] = count
        return Statistics(counts=counts, oldest_due=self._ledger.lines.oldest_due(self.now()))

    async def register(self, worker: WorkerInfo) -> None:
        self._workers[worker.id] = replace(worker, seen_at=self.now())

    async def beat(self, worker_id: str) -> bool:
        worker = self._workers.get(worker_id)
        if worker is not None:
            self._workers[worker_id] = replace(worker, seen_at=self.now())
        return worker is not None

    async def retire(self, worker_id: str) -> None:
        self._workers.pop(worker_id, None)

    async def workers(self) -> Sequence[WorkerInfo]:
        return list(self._workers.values())

    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        at = self.now()
        lapsed = at - timedelta(seconds=timeout)
        # A beat that lies ahead was heard before the clock was set back.
        self._workers = {
            name: worker if worker.seen_at <= at else replace(worker, seen_at=at)
            for name, worker in self._workers.items()
            if worker.seen_at > lapsed
        }
        lost = (
            number
            for number in sorted(self._ledger.running)
            if self._ledger.records[number].worker_id not in self._workers
        )
        return [_copy(self._ledger.records[number]) for number, _ in zip(lost, range(limit), strict=False)]

    async def overdue(self, *, limit: int) -> Sequence[QueuedTaskRecord]:
        return [_copy(record) for record in self._ledger.overdue(self.now(), limit=limit)]

    async def freed(self, *, limit: int) -> Freed:
        free = [
            number for number in sorted(self._ledger.blocked) if self._waits_for_nothing(self._ledger.records[number])
        ][:limit]
        return Freed(records=self._read(free), others_wait=len(self._ledger.blocked) > len(free))

    async def request_cancel(self, record_id: UUID, epoch: int) -> bool:
        record = self._ledger.records.get(record_id.int)
        if record is None or record.epoch != epoch or record.status not in OWNED:
            return False
        self._ledger.ask_to_stop(record)
        return True

    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        return self._read(sorted(self._ledger.stopping))

    async def delete_ended(self, *, status: TaskStatus, before: datetime, limit: int) -> int:
        return self._ledger.delete(self._ledger.ended(status, before, self.now(), limit=limit))

    async def delete_many(self, ids: Sequence[UUID]) -> int:
        at = self.now()
        found = [self._ledger.records[one.int] for one in dict.fromkeys(ids) if one.int in self._ledger.records]
        ended = [record for record in found if record.has_ended and not lifecycle.holds_key(record, at=at)]
        return self._ledger.delete(ended)

    async def next_due(self, claim: Claim) -> datetime | None:
        at = self.now()
        allowances = self._ledger.permits.allowances(at)
        moments: list[datetime] = []
        lines = self._ledger.lines.pick(claim.execution_backends, open_to=self._open_to(claim), at=at)
        for lane, later in map(self._lane_of, lines):
            moments += [moment for moment, _ in later]
            for entry in lane.places:
                opens_at = allowances.opens_at(lane)
                if opens_at is not None:
                    moments.append(max(opens_at, entry.scheduled_at))
                break
        return min(moments, default=None)

    async def swap_queue(self, queue: str, old: QueueState, new: QueueState) -> bool:
        if self._queues.get(queue, QueueState()) != old:
            return False
        self._queues[queue] = new
        self.wake()
        return True

    async def queues(self) -> Mapping[str, QueueState]:
        return dict(self._queues)

    async def schedules(self) -> Sequence[ScheduleState]:
        return list(self._schedules.values())

    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        known = self._schedules.get(state.name)
        if state.version != (1 if known is None else known.version + 1):
            return False
        _ = await self.insert_many([record for record in records if record.id.int not in self._ledger.records])
        self._schedules[state.name] = state
        self.wake()
        return True

    def _read(self, numbers: Iterable[int]) -> list[QueuedTaskRecord]:
        return [_copy(self._ledger.records[number]) for number in numbers if number in self._ledger.records]

    def _swap(self, swap: Swap, at: datetime) -> bool:
        number = swap.record.id.int
        old = self._ledger.records.get(number)
        if old is None or old.epoch != swap.epoch:
            return False
        asked = old.cancel_requested and not swap.record.has_ended
        released = old.key_released or swap.record.key_released
        new = swap.record
        if (new.cancel_requested, new.key_released) != (asked, released):
            new = replace(new, cancel_requested=asked, key_released=released)
        self._ledger.turn(old, new, at)
        return True

    def _start(self, entry: Waiting, claim: Claim, at: datetime) -> QueuedTaskRecord:
        record = self._ledger.records[entry.number]
        if claim.to is TaskStatus.RUNNING:
            started = lifecycle.claim(record, worker_id=claim.worker_id, at=at)
        else:
            started = lifecycle.dispatch(record, at=at)
        self._ledger.turn(record, started, at)
        return _copy(started)

    def _waits_for_nothing(self, record: QueuedTaskRecord) -> bool:
        before = record.after.ids if record.after else ()
        return all(found.has_ended for one in before if (found := self._ledger.records.get(one.int)) is not None)

    def _lane_of(self, line: Line) -> tuple[Lane[Waiting], list[tuple[datetime, Waiting]]]:
        return self._ledger.lines.lane(line, self._queues.get(line.queue) or QueueState(), self._ledger.records)

    def _open_to(self, claim: Claim) -> Callable[[str], bool]:
        wanted = None if claim.queues is None else frozenset(claim.queues)
        closed = {queue for queue, state in self._queues.items() if state.paused}
        return lambda queue: queue not in closed and (wanted is None or queue in wanted)


def _copy(record: QueuedTaskRecord) -> QueuedTaskRecord:
    return replace(record, metadata=dict(record.metadata)) if record.metadata else record
