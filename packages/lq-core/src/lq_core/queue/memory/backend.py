"""
Records in the memory of this process, for tests and for work that may be lost.

No method waits for anything, so each is a transaction.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import ClassVar
from uuid import UUID

from msgspec.structs import replace

from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.clock import utc_now
from lq_core.foundation.errors import DuplicateRecordError
from lq_core.queue.base import BaseQueueBackend
from lq_core.queue.capabilities import Actions, Rollups, Successors, Versions
from lq_core.queue.limits import Allowances, Partition, pick
from lq_core.queue.memory.index import RecordIndex
from lq_core.queue.memory.partitions import Heaps, Waiting
from lq_core.queue.messages import (
    Action,
    Claim,
    Claimed,
    Insertion,
    QueueState,
    RecordFilter,
    Statistics,
    Swap,
    Unblocked,
    WorkerInfo,
)
from lq_core.queue.predecessors import after_holders, waves
from lq_core.queue.rollups import Rollup, merged
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import OWNED, QueuedTaskRecord, TaskStatus
from lq_core.schedules.schedule_state import ScheduleState


class InMemoryQueueBackend(BaseQueueBackend, Successors, Rollups, Actions, Versions):
    """
    Stores records in memory: the fastest backend, which loses them when the process ends.

    Each object has records of its own.
    """

    shared: ClassVar[bool] = False
    follows_held_keys: ClassVar[bool] = True
    takes_turns: ClassVar[bool] = True

    def __init__(self, config: QueueConfig | None = None, *, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(config, clock=clock)
        self._index = RecordIndex(clock)
        self._born = new_id()
        self._workers: dict[str, WorkerInfo] = {}
        self._queues: dict[str, QueueState] = {}
        self._schedules: dict[str, ScheduleState] = {}
        self._actions: list[Action] = []
        self._rollups: dict[tuple[datetime, str], Rollup] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} records={len(self._index.records)} workers={len(self._workers)}>"

    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        at = self.now()
        numbers = [record.id.int for record in records]
        if len(set(numbers)) < len(numbers) or not self._index.records.keys().isdisjoint(numbers):
            twice = [number for number in numbers if number in self._index.records or numbers.count(number) > 1]
            raise DuplicateRecordError(str(UUID(int=twice[0])))
        stored: dict[UUID, Insertion] = {}
        for wave in waves(records):
            if wave is records:
                return [self._insert(record, at) for record in records]
            stored |= {record.id: self._insert(after_holders(record, stored), at) for record in wave}
        return [stored[record.id] for record in records]

    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        at = self.now()
        stored = ((self._index.records.get(swap.record.id.int), swap) for swap in swaps)
        kept = [
            old is not None and old.key_released == swap.record.key_released and self._swap(swap, at)
            for old, swap in stored
        ]
        self._index.partitions.amended(sum(kept))
        return kept

    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        at = self.now()
        kept = [self._swap(swap, at) for swap in swaps]
        if claim is None:
            return kept, Claimed()
        if claim.worker_id not in self._workers:
            return kept, Claimed(alive=False)
        partitions = self._index.partitions
        chosen = partitions.choose(claim.execution_backends, open_to=self._open_to(claim), at=at)
        entries, held_back = partitions.take(chosen, claim.limit), False
        if any(heaps.keyed or heaps.queue in self._queues for heaps in chosen):
            allowances = self._index.allowances(at)
            limited = [each for heaps in chosen for each in self._limited(heaps, claim.limit, allowances)]
            entries, held_back = pick(limited, claim.limit, allowances)
            held_back = partitions.settle() or held_back
            self._index.keep(allowances, at)
        return kept, Claimed(records=tuple(self._start(each, claim, at) for each in entries), held_back=held_back)

    async def get_many(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        return self._read(dict.fromkeys(record_id.int for record_id in ids))

    async def find(
        self, condition: RecordFilter, *, limit: int = 100, before: UUID | None = None, after: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        oldest = 0 if condition.newest is None else self._index.oldest_of(condition.newest)
        found = filter(condition.matches, self._index.between(after, before, oldest=oldest))
        return [_copy(record) for record in islice(found, limit)]

    async def count(self, condition: RecordFilter) -> int:
        return sum(map(condition.matches, islice(self._index.between(None, None), condition.newest)))

    async def statistics(self) -> Statistics:
        counts: dict[str, dict[TaskStatus, int]] = {}
        for (queue, status), count in self._index.counts.items():
            if count:
                counts.setdefault(queue, {})[status] = count
        return Statistics(counts=counts, due=self._index.partitions.due(self.now(), self._index.records))

    async def version(self) -> str:
        return f"{self._born}-{self._index.changes}"

    async def register(self, worker: WorkerInfo) -> None:
        self._workers[worker.id] = replace(worker, seen_at=self.now())
        self._index.changes += 1

    async def beat(self, worker_id: str) -> bool:
        worker = self._workers.get(worker_id)
        self._index.changes += 1
        if worker is not None:
            self._workers[worker_id] = replace(worker, seen_at=self.now())
        return worker is not None

    async def retire(self, worker_id: str) -> None:
        self._workers.pop(worker_id, None)
        self._index.changes += 1

    async def workers(self) -> Sequence[WorkerInfo]:
        return list(self._workers.values())

    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        at = self.now()
        lapsed = at - timedelta(seconds=timeout)
        # A heartbeat in the future was sent before the clock was set back.
        self._workers = {
            name: worker if worker.seen_at <= at else replace(worker, seen_at=at)
            for name, worker in self._workers.items()
            if worker.seen_at > lapsed
        }
        self._index.changes += 1
        records = self._index.records
        lost = (number for number in self._index.running if records[number].worker_id not in self._workers)
        return self._read(islice(lost, limit))

    async def owned(self, worker_id: str) -> Sequence[QueuedTaskRecord]:
        return [record for record in self._read(self._index.running) if record.worker_id == worker_id]

    async def overdue(self, *, limit: int) -> Sequence[QueuedTaskRecord]:
        return [_copy(record) for record in self._index.overdue(self.now(), limit=limit)]

    async def unblocked(self, *, limit: int) -> Unblocked:
        records = self._index.records
        free = [number for number in sorted(self._index.blocked) if self._is_free(records[number])][:limit]
        return Unblocked(records=self._read(free), others_wait=len(self._index.blocked) > len(free))

    async def unblocked_by(self, ids: Sequence[UUID], *, limit: int) -> Sequence[QueuedTaskRecord]:
        records = self._index.records
        waiting = sorted({number for one in ids for number in self._index.successors.get(one.int, ())})
        return self._read(islice((number for number in waiting if self._is_free(records[number])), limit))

    async def successors(self, record_id: UUID, *, limit: int) -> Sequence[QueuedTaskRecord]:
        return self._read(sorted(self._index.successors.get(record_id.int, ()))[:limit])

    async def request_cancel(self, record_id: UUID, epoch: int) -> bool:
        record = self._index.records.get(record_id.int)
        if record is None or record.epoch != epoch or record.status not in OWNED:
            return False
        self._index.request_cancel(record)
        return True

    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        return self._read(sorted(self._index.stopping))

    async def delete_ended(self, *, status: TaskStatus, before: datetime, limit: int) -> int:
        return self._index.delete(self._index.ended(status, before, self.now(), limit=limit))

    async def delete_many(self, ids: Sequence[UUID]) -> int:
        at = self.now()
        found = await self.get_many(ids)
        ended = [record for record in found if record.has_ended and not lifecycle.holds_key(record, at=at)]
        return self._index.delete(ended)

    async def add_action(self, action: Action, *, oldest: datetime) -> None:
        self._actions = [one for one in (*self._actions, action) if one.at >= oldest]
        self._index.changes += 1

    async def actions(self, *, limit: int) -> Sequence[Action]:
        return self._actions[::-1][:limit]

    async def add_rollups(self, rollups: Sequence[Rollup], *, oldest: datetime) -> None:
        for rollup in rollups:
            key = rollup.minute, rollup.queue
            before = self._rollups.get(key, Rollup(minute=rollup.minute, queue=rollup.queue))
            self._rollups[key] = Rollup.of_numbers(*key, merged([before, rollup]))
        self._rollups = {key: rollup for key, rollup in self._rollups.items() if rollup.minute >= oldest}
        self._index.changes += 1

    async def rollups(self, *, queue: str, since: datetime) -> Sequence[Rollup]:
        found = [one for one in self._rollups.values() if one.queue == queue and one.minute >= since]
        return sorted(found, key=lambda rollup: rollup.minute)

    async def next_due(self, claim: Claim) -> datetime | None:
        at = self.now()
        allowances = self._index.allowances(at)
        moments: list[datetime] = []
        records = self._index.records
        for heaps in self._index.partitions.choose(claim.execution_backends, open_to=self._open_to(claim), at=at):
            state = self._queues.get(heaps.queue) or QueueState()
            if (later := heaps.next_later(state, records)) is not None:
                moments.append(later)
            for key in (None, *heaps.keyed):
                partition = heaps.partition(key, state, records)
                first, opens_at = next(partition.entries, None), allowances.opens_at(partition)
                if first is not None and opens_at is not None:
                    moments.append(opens_at)
        return min(moments, default=None)

    async def swap_queue(self, queue: str, old: QueueState, new: QueueState) -> bool:
        if self._queues.get(queue, QueueState()) != old:
            return False
        self._queues[queue] = new
        self._index.changes += 1
        return True

    async def queues(self) -> Mapping[str, QueueState]:
        return dict(self._queues)

    async def schedules(self) -> Sequence[ScheduleState]:
        return list(self._schedules.values())

    async def schedule(self, name: str) -> ScheduleState | None:
        return self._schedules.get(name)

    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        known = self._schedules.get(state.name)
        if state.version != (1 if known is None else known.version + 1):
            return False
        _ = await self.insert_many([record for record in records if record.id.int not in self._index.records])
        self._schedules[state.name] = state
        self._index.changes += 1
        self.wake()
        return True

    def _read(self, numbers: Iterable[int]) -> list[QueuedTaskRecord]:
        return [_copy(self._index.records[number]) for number in numbers if number in self._index.records]

    def _insert(self, record: QueuedTaskRecord, at: datetime) -> Insertion:
        holder = None if record.key is None or record.key_released else self._index.holder(record.key, at)
        if holder is not None:
            return Insertion(_copy(holder), created=False)
        return Insertion(_copy(self._index.add(_copy(record), at)), created=True)

    def _swap(self, swap: Swap, at: datetime) -> bool:
        number = swap.record.id.int
        old = self._index.records.get(number)
        if old is None or old.epoch != swap.epoch:
            return False
        asked = old.cancel_requested and not swap.record.has_ended
        released = old.key_released or swap.record.key_released
        new = swap.record
        if (new.cancel_requested, new.key_released) != (asked, released):
            new = replace(new, cancel_requested=asked, key_released=released)
        self._index.swap(old, new, at)
        return True

    def _start(self, entry: Waiting, claim: Claim, at: datetime) -> QueuedTaskRecord:
        record = self._index.records[entry.number]
        if claim.to is TaskStatus.RUNNING:
            started = lifecycle.claim(record, worker_id=claim.worker_id, at=at)
        else:
            started = lifecycle.dispatch(record, at=at)
        self._index.swap(record, started, at)
        return _copy(started)

    def _is_free(self, record: QueuedTaskRecord) -> bool:
        before = reversed(record.after.ids) if record.after else ()  # The last one usually ends last.
        return all(found.has_ended for one in before if (found := self._index.records.get(one.int)) is not None)

    def _limited(self, heaps: Heaps, limit: int, allowances: Allowances) -> Iterable[Partition[Waiting]]:
        state = self._queues.get(heaps.queue) or QueueState()
        return self._index.partitions.limited(heaps, state, self._index.records, limit=limit, allowances=allowances)

    def _open_to(self, claim: Claim) -> Callable[[str], bool]:
        wanted = None if claim.queues is None else frozenset(claim.queues)
        closed = {queue for queue, state in self._queues.items() if state.paused}
        return lambda queue: queue not in closed and (wanted is None or queue in wanted)


def _copy(record: QueuedTaskRecord) -> QueuedTaskRecord:
    return replace(record, metadata=dict(record.metadata)) if record.metadata else record
