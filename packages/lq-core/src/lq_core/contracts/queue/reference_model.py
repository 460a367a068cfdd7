"""The model of a queue backend: a dictionary and the pure lifecycle, without any optimization."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec.structs import replace

from lq_core.queue import Claim, DueRecords, Insertion, Proposal, QueueState, Statistics, Swap, Unblocked, WorkerInfo
from lq_core.queue.limits import Allowances, Partition, Subject, pick
from lq_core.records import lifecycle
from lq_core.records.record import OWNED, QueuedTaskRecord, TaskStatus
from lq_core.schedules.schedule_state import ScheduleState
from lq_core.tasks.options import OnConflict

LAST = datetime.max.replace(tzinfo=UTC)


class QueueModel:
    """The behaviour that every backend must have; *at* is the time, which changes only when a test sets it."""

    def __init__(self) -> None:
        self.at = datetime(2026, 10, 25, 0, 59, 59, 999_999, tzinfo=UTC)
        self.records: dict[int, QueuedTaskRecord] = {}
        self.workers: dict[str, WorkerInfo] = {}
        self.queues: dict[str, QueueState] = {}
        self.buckets: dict[Subject, datetime] = {}
        self.schedules: dict[str, ScheduleState] = {}

    def all(self) -> list[QueuedTaskRecord]:
        """Every record, oldest first."""
        return [self.records[number] for number in sorted(self.records)]

    def insert(self, records: Sequence[QueuedTaskRecord]) -> list[Insertion]:
        """Store records one by one."""
        insertions: list[Insertion] = []
        for record in records:
            asked = [held for held in self.all() if held.key == record.key and not held.key_released]
            holders = [] if record.key is None or record.key_released else asked
            for held in holders:
                if lifecycle.has_lapsed(held, at=self.at):
                    self.records[held.id.int] = lifecycle.release_key(held)
            holders = [held for held in holders if lifecycle.holds_key(held, at=self.at)]
            if not holders:
                self.records[record.id.int] = record
            insertions.append(Insertion((holders or [record])[0], created=not holders))
        return insertions

    def propose(self, proposals: Sequence[Proposal]) -> list[Insertion]:
        """Store records one by one, or amend the holders of their keys."""
        answers: list[Insertion] = []
        for proposal in proposals:
            (answer,) = self.insert([proposal.record])
            amends = proposal.on_conflict.amends
            if not answer.created and amends and lifecycle.can_be_amended(answer.record, to=proposal.record):
                reschedule = proposal.on_conflict is OnConflict.DEBOUNCE
                amended = lifecycle.amend(answer.record, to=proposal.record, reschedule=reschedule)
                self.records[amended.id.int] = amended
                answer = Insertion(amended, created=False, replaced=True)
            answers.append(answer)
        return answers

    def swap(self, swap: Swap) -> bool:
        """Store a record if the stored epoch is the expected one."""
        old = self.records.get(swap.record.id.int)
        if old is None or old.epoch != swap.epoch:
            return False
        asked = old.cancel_requested and not swap.record.has_ended
        released = old.key_released or swap.record.key_released
        self.records[old.id.int] = replace(swap.record, cancel_requested=asked, key_released=released)
        return True

    def waiting_for(self, claim: Claim) -> list[QueuedTaskRecord]:
        """Pending records that the claim may take now or later, in the order of claims."""
        waiting = [
            record
            for record in self.all()
            if record.status is TaskStatus.PENDING
            and not record.cancel_requested
            and not record.blocked
            and not lifecycle.is_overdue(record, at=self.at)
            and record.execution_backend in claim.execution_backends
            and (claim.queues is None or record.queue in claim.queues)
            and not self.state(record.queue).paused
            and record.created_at < (self.state(record.queue).draining or LAST)
        ]
        return sorted(waiting, key=lambda record: (-record.priority, record.scheduled_at, record.id.int))

    def state(self, queue: str) -> QueueState:
        """The state of a queue."""
        return self.queues.get(queue, QueueState())

    def partitions_of(self, claim: Claim) -> Iterator[Partition[tuple[int, QueuedTaskRecord]]]:
        """The due records of a claim, partition by partition."""
        due = [record for record in self.waiting_for(claim) if record.scheduled_at <= self.at]
        partitions: dict[tuple[str, str, str | None], list[tuple[int, QueuedTaskRecord]]] = {}
        for place, record in enumerate(due):
            partition = (record.execution_backend, record.queue, record.concurrency_key)
            partitions.setdefault(partition, []).append((place, record))
        for (_, queue, key), entries in partitions.items():
            limits = entries[0][1].limits
            yield Partition(queue, iter(entries), key=key, limits=limits, queue_limits=self.state(queue).limits)

    def allowances(self) -> Allowances:
        """What the limits allow now."""
        return Allowances(self.at, running=self.running, full_at=self.buckets.get)

    def running(self, subject: Subject) -> int:
        """How many records of a queue or key are dispatched or running."""
        return sum(
            record.status in OWNED
            and subject.name == (record.queue if subject.kind == "queue" else record.concurrency_key)
            for record in self.all()
        )

    def claim(self, claim: Claim) -> list[QueuedTaskRecord]:
        """Take due records, if the worker is registered."""
        if claim.worker_id not in self.workers:
            return []
        allowances = self.allowances()
        picked, _ = pick(self.partitions_of(claim), claim.limit, allowances)
        self.buckets |= allowances.changed
        taken = [
            lifecycle.claim(record, worker_id=claim.worker_id, at=self.at)
            if claim.to is TaskStatus.RUNNING
            else lifecycle.dispatch(record, at=self.at)
            for _, record in picked
        ]
        self.records.update((record.id.int, record) for record in taken)
        return taken

    def next_due(self, claim: Claim) -> datetime | None:
        """When the first record may start; now, if one may start now."""
        allowances = self.allowances()
        moments = [allowances.opens_at(partition) for partition in self.partitions_of(claim)]
        moments += [record.scheduled_at for record in self.waiting_for(claim) if record.scheduled_at > self.at]
        return min((moment for moment in moments if moment is not None), default=None)

    def orphans(self, timeout: float) -> list[QueuedTaskRecord]:
        """Forget lapsed workers, and find the records that they ran."""
        lapsed = self.at - timedelta(seconds=timeout)
        self.workers = {name: worker for name, worker in self.workers.items() if worker.seen_at > lapsed}
        return [
            record
            for record in self.all()
            if record.status is TaskStatus.RUNNING and record.worker_id not in self.workers
        ]

    def owned(self, worker_id: str) -> list[QueuedTaskRecord]:
        """The running records of a worker."""
        return [r for r in self.all() if r.status is TaskStatus.RUNNING and r.worker_id == worker_id]

    def unblocked(self) -> Unblocked:
        """The blocked records whose predecessors have all ended or been deleted."""
        blocked = [record for record in self.all() if record.blocked]
        free = [record for record in blocked if all(found.has_ended for found in self.before(record))]
        return Unblocked(records=free, others_wait=len(blocked) > len(free))

    def incomplete(self, record: QueuedTaskRecord) -> list[UUID]:
        """The predecessors of a record that did not complete."""
        completed = {found.id for found in self.before(record) if found.status is TaskStatus.COMPLETED}
        return [one for one in (record.after.ids if record.after else ()) if one not in completed]

    def before(self, record: QueuedTaskRecord) -> list[QueuedTaskRecord]:
        """The predecessors of a record that are stored."""
        ids = record.after.ids if record.after else ()
        return [self.records[one.int] for one in ids if one.int in self.records]

    def request_cancel(self, record: QueuedTaskRecord, epoch: int) -> bool:
        """Mark an owned record."""
        stored = self.records[record.id.int]
        if stored.epoch != epoch or stored.status not in OWNED:
            return False
        self.records[record.id.int] = lifecycle.request_cancel(stored)
        return True

    def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord]) -> bool:
        """Store the next version of a state, and the new records."""
        known = self.schedules.get(state.name)
        if state.version != (known.version + 1 if known else 1):
            return False
        self.schedules[state.name] = state
        _ = self.insert([record for record in records if record.id.int not in self.records])
        return True

    def delete_ended(self, status: TaskStatus, before: datetime) -> int:
        """Delete the records that ended before a moment."""
        old = [
            record
            for record in self.all()
            if record.status is status
            and record.finished_at is not None
            and record.finished_at < before
            and not lifecycle.holds_key(record, at=self.at)
        ]
        for record in old:
            del self.records[record.id.int]
        return len(old)

    def statistics(self) -> Statistics:
        """Count."""
        counts: dict[str, dict[TaskStatus, int]] = {}
        for record in self.all():
            by_status = counts.setdefault(record.queue, {})
            by_status[record.status] = by_status.get(record.status, 0) + 1
        due: dict[str, list[datetime]] = {}
        for record in self.all():
            if (
                record.status is TaskStatus.PENDING
                and not record.cancel_requested
                and not record.blocked
                and not lifecycle.is_overdue(record, at=self.at)
                and record.scheduled_at <= self.at
            ):
                due.setdefault(record.queue, []).append(record.scheduled_at)
        return Statistics(
            counts=counts, due={queue: DueRecords(len(moments), min(moments)) for queue, moments in due.items()}
        )
