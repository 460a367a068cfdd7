"""A queue backend of a third party that keeps its records in a dictionary: complete, and slow with many records."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import UUID

from msgspec.structs import replace

from lq_core import BaseQueueBackend, QueueConfig, QueuedTaskRecord, RecordFilter, Statistics, TaskStatus, WorkerInfo
from lq_core import queue_backend as named
from lq_core.foundation.clock import utc_now
from lq_core.foundation.errors import DuplicateRecordError
from lq_core.queue import Claim, Claimed, DueRecords, Insertion, QueueState, Swap, Unblocked
from lq_core.queue.limits import Allowances, Partition, Subject, pick
from lq_core.records import lifecycle
from lq_core.records.record import OWNED
from lq_core.schedules.schedule_state import ScheduleState

ALWAYS = datetime.max.replace(tzinfo=UTC)


@named("dict")
class DictQueueBackend(BaseQueueBackend):
    """
    Keeps records in a dictionary of this process.

    No method awaits anything, so each is a transaction. With a database, each would be one.
    """

    shared: ClassVar[bool] = False

    def __init__(self, config: QueueConfig | None = None, *, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(config, clock=clock)
        self._stored: dict[UUID, QueuedTaskRecord] = {}
        self._workers: dict[str, WorkerInfo] = {}
        self._queues: dict[str, QueueState] = {}
        self._schedules: dict[str, ScheduleState] = {}
        self._buckets: dict[Subject, datetime] = {}

    # ------------------------------------------------------------ records

    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        ids = [record.id for record in records]
        if len(set(ids)) < len(ids) or not self._stored.keys().isdisjoint(ids):
            raise DuplicateRecordError("the dictionary has this id")
        insertions: list[Insertion] = []
        for record in records:
            holder = self._holder(record)
            if holder is None:
                self._put(record)
            insertions.append(Insertion(holder or record, created=holder is None))
        return insertions

    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        return [not self._has_released_since(swap.record) and self._swap(swap) for swap in swaps]

    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        kept = [self._swap(swap) for swap in swaps]
        if claim is None:
            return kept, Claimed()
        if claim.worker_id not in self._workers:
            return kept, Claimed(alive=False)
        at = self.now()
        allowances = self._allowances(at)
        picked, held_back = pick(self._partitions(claim, at), claim.limit, allowances)
        self._buckets |= allowances.changed
        taken = [
            lifecycle.claim(record, worker_id=claim.worker_id, at=at)
            if claim.to is TaskStatus.RUNNING
            else lifecycle.dispatch(record, at=at)
            for _, record in picked
        ]
        for record in taken:
            self._put(record)
        return kept, Claimed(records=tuple(taken), held_back=held_back)

    async def get_many(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        return [self._get(one) for one in dict.fromkeys(ids) if one in self._stored]

    async def find(
        self, condition: RecordFilter, *, limit: int = 100, before: UUID | None = None, after: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        found = [
            record
            for record in self._youngest(condition.newest)
            if condition.matches(record)
            and (before is None or record.id < before)
            and (after is None or record.id > after)
        ]
        return (found if after else found[::-1])[:limit]

    async def count(self, condition: RecordFilter) -> int:
        return sum(map(condition.matches, self._youngest(condition.newest)))

    async def statistics(self) -> Statistics:
        counts: dict[str, dict[TaskStatus, int]] = {}
        for record in self._all():
            by_status = counts.setdefault(record.queue, {})
            by_status[record.status] = by_status.get(record.status, 0) + 1
        due: dict[str, list[datetime]] = {}
        for record in self._startable(self.now()):
            if record.scheduled_at <= self.now():
                due.setdefault(record.queue, []).append(record.scheduled_at)
        return Statistics(
            counts=counts, due={queue: DueRecords(len(moments), min(moments)) for queue, moments in due.items()}
        )

    async def next_due(self, claim: Claim) -> datetime | None:
        at = self.now()
        allowances = self._allowances(at)
        moments = [allowances.opens_at(partition) for partition in self._partitions(claim, at)]
        moments += [record.scheduled_at for record in self._claimable(claim, at) if record.scheduled_at > at]
        return min((moment for moment in moments if moment is not None), default=None)

    async def overdue(self, *, limit: int) -> Sequence[QueuedTaskRecord]:
        return [record for record in self._all() if lifecycle.is_overdue(record, at=self.now())][:limit]

    async def unblocked(self, *, limit: int) -> Unblocked:
        blocked = [record for record in self._all() if record.blocked]
        free: list[QueuedTaskRecord] = []
        for record in blocked:
            before = await self.get_many(record.after.ids if record.after else ())
            if all(one.has_ended for one in before):
                free.append(record)
        return Unblocked(records=free[:limit], others_wait=len(blocked) > len(free[:limit]))

    async def request_cancel(self, record_id: UUID, epoch: int) -> bool:
        for record in await self.get_many([record_id]):
            if record.epoch == epoch and record.status in OWNED:
                self._put(lifecycle.request_cancel(record))
                return True
        return False

    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        return [record for record in self._all() if record.cancel_requested]

    async def delete_ended(self, *, status: TaskStatus, before: datetime, limit: int) -> int:
        ended = [r.id for r in self._all() if r.status is status and r.finished_at and r.finished_at < before]
        free = [one for one in ended if not lifecycle.holds_key(self._get(one), at=self.now())]
        return await self.delete_many(free[:limit])

    async def delete_many(self, ids: Sequence[UUID]) -> int:
        found = await self.get_many(ids)
        ended = [r.id for r in found if r.has_ended and not lifecycle.holds_key(r, at=self.now())]
        for one in ended:
            del self._stored[one]
        return len(ended)

    # ------------------------------------------------------------ workers

    async def register(self, worker: WorkerInfo) -> None:
        self._workers[worker.id] = replace(worker, seen_at=self.now())

    async def beat(self, worker_id: str) -> bool:
        if worker_id not in self._workers:
            return False
        await self.register(self._workers[worker_id])
        return True

    async def retire(self, worker_id: str) -> None:
        self._workers.pop(worker_id, None)

    async def workers(self) -> Sequence[WorkerInfo]:
        return list(self._workers.values())

    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        at = self.now()
        for worker in list(self._workers.values()):
            if worker.seen_at <= at - timedelta(seconds=timeout):
                del self._workers[worker.id]
            elif worker.seen_at > at:  # The clock was set back since this heartbeat.
                await self.register(worker)
        running = [record for record in self._all() if record.status is TaskStatus.RUNNING]
        return [record for record in running if record.worker_id not in self._workers][:limit]

    async def owned(self, worker_id: str) -> Sequence[QueuedTaskRecord]:
        return [r for r in self._all() if r.status is TaskStatus.RUNNING and r.worker_id == worker_id]

    # ------------------------------------------------------------ queues and schedules

    async def queues(self) -> Mapping[str, QueueState]:
        return dict(self._queues)

    async def swap_queue(self, queue: str, old: QueueState, new: QueueState) -> bool:
        if self._state(queue) != old:
            return False
        self._queues[queue] = new
        return True

    async def schedules(self) -> Sequence[ScheduleState]:
        return list(self._schedules.values())

    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        known = self._schedules.get(state.name)
        if state.version != (known.version + 1 if known else 1):
            return False
        self._schedules[state.name] = state
        await self.insert_many([record for record in records if record.id not in self._stored])
        self.wake()
        return True

    # ------------------------------------------------------------ the dictionary

    def _put(self, record: QueuedTaskRecord) -> None:
        self._stored[record.id] = replace(record, metadata=dict(record.metadata))

    def _get(self, record_id: UUID) -> QueuedTaskRecord:
        record = self._stored[record_id]
        return replace(record, metadata=dict(record.metadata))

    def _all(self) -> list[QueuedTaskRecord]:
        return [self._get(record_id) for record_id in sorted(self._stored)]

    def _youngest(self, number: int | None) -> list[QueuedTaskRecord]:
        return self._all()[-(number or len(self._stored)) :]

    def _swap(self, swap: Swap) -> bool:
        """Write a record if the epoch is the expected one, which is the whole fence."""
        old = self._get(swap.record.id) if swap.record.id in self._stored else None
        if old is None or old.epoch != swap.epoch:
            return False
        # A swap neither clears a request to cancel, unless it ends the record, nor takes a key back.
        asked = old.cancel_requested and not swap.record.has_ended
        released = old.key_released or swap.record.key_released
        self._put(replace(swap.record, cancel_requested=asked, key_released=released))
        return True

    def _has_released_since(self, record: QueuedTaskRecord) -> bool:
        return record.id not in self._stored or self._get(record.id).key_released != record.key_released

    def _holder(self, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Find the record that holds a key; one that has lapsed loses it."""
        if record.key is None or record.key_released:
            return None
        for other in self._all():
            if other.key == record.key and not other.key_released:
                if not lifecycle.has_lapsed(other, at=self.now()):
                    return other
                self._put(lifecycle.release_key(other))
        return None

    # ------------------------------------------------------------ claims

    def _state(self, queue: str) -> QueueState:
        return self._queues.get(queue, QueueState())

    def _startable(self, at: datetime) -> Iterator[QueuedTaskRecord]:
        for record in self._all():
            waits = record.status is TaskStatus.PENDING and not (record.cancel_requested or record.blocked)
            if waits and not lifecycle.is_overdue(record, at=at):
                yield record

    def _claimable(self, claim: Claim, at: datetime) -> Iterator[QueuedTaskRecord]:
        for record in self._startable(at):
            state = self._state(record.queue)
            if (
                record.execution_backend in claim.execution_backends
                and (claim.queues is None or record.queue in claim.queues)
                and not state.paused
                and record.created_at < (state.draining or ALWAYS)
            ):
                yield record

    def _partitions(self, claim: Claim, at: datetime) -> Iterator[Partition[tuple[int, QueuedTaskRecord]]]:
        """Split the due records by what shares limits, each in the order of claims."""
        due = [record for record in self._claimable(claim, at) if record.scheduled_at <= at]
        due.sort(key=lambda record: (-record.priority, record.scheduled_at, record.id))
        partitions: dict[tuple[str, str, str | None], list[tuple[int, QueuedTaskRecord]]] = {}
        for place, record in enumerate(due):
            shared = record.execution_backend, record.queue, record.concurrency_key
            partitions.setdefault(shared, []).append((place, record))
        for (_, queue, key), entries in partitions.items():
            limits = entries[0][1].limits
            yield Partition(queue, iter(entries), key=key, limits=limits, queue_limits=self._state(queue).limits)

    def _allowances(self, at: datetime) -> Allowances:
        return Allowances(at, running=self._running, full_at=self._buckets.get)

    def _running(self, subject: Subject) -> int:
        owned = [record for record in self._all() if record.status in OWNED]
        return sum(subject.name == (r.queue if subject.kind == "queue" else r.concurrency_key) for r in owned)
