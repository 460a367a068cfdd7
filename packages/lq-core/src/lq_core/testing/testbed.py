"""A queue for the tests of an application: in memory, without a worker, and with a clock that the test moves."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar
from uuid import UUID

from msgspec.structs import replace as changed

from lq_core.clock import utc_now
from lq_core.config import QueueConfig
from lq_core.errors import QueueError
from lq_core.heartbeat import Heartbeat
from lq_core.queue import BaseQueueBackend, Claim, Claimed, Insertion, RecordFilter, Swap, WorkerInfo
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.messages import Proposal
from lq_core.record import QueuedTaskRecord, TaskStatus
from lq_core.schedule import find_schedule
from lq_core.service import QueueService
from lq_core.service.calls import new_record
from lq_core.task import Task, TaskCall, find_task
from lq_core.worker.maintenance import Maintenance
from lq_core.worker.scheduler import Scheduler

Params = ParamSpec("Params")
Result = TypeVar("Result")

MOST: Final = 10_000
"""How many attempts one drain makes before it says that there is no end to them."""


class QueueTestbed:
    """
    An open :class:`lq_core.QueueService` on a store of its own: ``async with QueueTestbed() as bed``.

    Time stands still until :meth:`advance` moves it, and nothing runs until :meth:`drain` runs it, here and whatever
    its execution backend; only a task that is executed ``immediate`` runs during its enqueue. The *config* is taken
    over but for its queue backend. An application that is given :attr:`config` shares the records, also from another
    event loop; let it start no worker.

    Of the schedules that are declared, those that *schedules* names fire, by this clock, while it is drained. What is
    enqueued ``within`` a transaction is there at once, and stays there: no connection is looked at.
    """

    def __init__(
        self, config: QueueConfig | None = None, *, at: datetime | None = None, schedules: Sequence[str] = ()
    ) -> None:
        self._shelf = Shelf(at=at or utc_now())
        self.config = replace(config or QueueConfig(), queue_backend=self._shelf)
        """The configuration by which an application shares this queue."""

        self.service = QueueService(self.config)
        self._scheduler = Scheduler(self.service, declared=lambda: {name: find_schedule(name) for name in schedules})

    async def __aenter__(self) -> Self:
        await self.service.open()
        await self._scheduler.step()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.service.close()

    def __repr__(self) -> str:
        return f"<QueueTestbed {self.now()} enqueued={len(self._shelf.enqueued)}>"

    # ------------------------------------------------------------ time

    def now(self) -> datetime:
        """Tell the time of this queue."""
        return self._shelf.at

    def advance(self, seconds: float) -> None:
        """Let time pass, without running what becomes due; the timeouts of running tasks are real time."""
        self._shelf.at += timedelta(seconds=seconds)

    # ------------------------------------------------------------ run

    async def drain(self, *, within: float = 0.0) -> Mapping[TaskStatus, int]:
        """
        Run what is due, one after another, also what that enqueues; count what became of each start.

        A failure that is to be retried counts as ``pending``, a record that was not started in time as ``expired``.
        With *within*, retries and delayed records that become due in the next so many seconds run as well, each at its
        time: the clock has moved on by that much at the end.

        Raises QueueError when there is no end to it.
        """
        until = self.now() + timedelta(seconds=within)
        worker_id = await self.service.runner.worker_id()
        maintenance = self._maintenance(worker_id)
        outcomes = Counter[TaskStatus]()
        while True:
            claim = await self._prepared(maintenance, worker_id, outcomes)
            claimed = await self.service.queue_backend.claim(claim)
            for record in claimed.records:
                ended = await self.service.execute_record(record, worker_id=worker_id)
                outcomes[ended.status] += 1
                if outcomes.total() >= MOST:
                    raise QueueError(
                        f"After {MOST:,} attempts there is still something due, last {record.task_name}: "
                        "does a task enqueue itself, or raise RetryLater(0), for ever?"
                    )
            if not claimed.records:
                due = min([moment async for moment in self._ahead(claim)], default=None)
                if due is None or due > until:
                    break
                self._shelf.at = max(due, self._shelf.at)
        self._shelf.at = max(until, self._shelf.at)
        return dict(outcomes)

    async def _prepared(self, maintenance: Maintenance, worker_id: str, outcomes: Counter[TaskStatus]) -> Claim:
        """Do what a worker does between two claims, and say what it would claim."""
        backend = self.service.queue_backend
        while not await self._scheduler.step():
            pass
        outcomes[TaskStatus.EXPIRED] += len(await backend.overdue(limit=MOST))
        await maintenance.expire()
        await maintenance.cancel()
        while await maintenance.let_go():
            pass  # What has been cancelled may let others go.
        outcomes += Counter()  # Leaves out what is 0.
        pending = await backend.find(RecordFilter(statuses=(TaskStatus.PENDING,)), limit=MOST)
        names = tuple(sorted({record.execution_backend for record in pending}))
        return Claim(worker_id=worker_id, limit=1, execution_backends=names)

    async def _ahead(self, claim: Claim) -> AsyncGenerator[datetime]:
        """Tell when something becomes due."""
        if (due := await self.service.queue_backend.next_due(claim)) is not None:
            yield due
        for state in await self.service.schedules():
            if (due := state.next_due(after=self.now())) is not None:
                yield due

    def _maintenance(self, worker_id: str) -> Maintenance:
        worker = WorkerInfo(id=worker_id, started_at=self.now(), seen_at=self.now())
        beats_not = Heartbeat(self.service.queue_backend, worker, self.service.runner.attempts)
        return Maintenance(self.service, heartbeat=beats_not, held=frozenset[tuple[UUID, int]])

    # ------------------------------------------------------------ what was enqueued

    def enqueued(self, task: Task[..., Result] | None = None) -> Sequence[QueuedTaskRecord]:
        """Tell what has been enqueued so far, of one task or of all, in order and as it was then, run since or not."""
        return [record for record in self._shelf.enqueued if task is None or record.task_name == task.name]

    def assert_enqueued(self, task: Task[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs) -> None:
        """
        Fail unless this call has been enqueued.

        Options are asked for as they are given: ``assert_enqueued(send.using(priority=5, delay=60), user_id)``; those
        that *task* has from its definition do not matter.
        """
        call = task.call(*args, **kwargs)
        if not self._found(call):
            raise AssertionError(self._told(call, "was not enqueued"))

    def assert_not_enqueued(self, task: Task[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs) -> None:
        """Fail if this call has been enqueued; options narrow it as in :meth:`assert_enqueued`."""
        call = task.call(*args, **kwargs)
        if self._found(call):
            raise AssertionError(self._told(call, "was enqueued"))

    def _found(self, call: TaskCall[Result]) -> bool:
        return any(record.task_name == call.task_name and self._is_of(record, call) for record in self._shelf.enqueued)

    def _is_of(self, record: QueuedTaskRecord, call: TaskCall[Result]) -> bool:
        """Compare what the call asks for beyond the definition of its task, as it would have been stored then."""
        defined = find_task(call.task_name)
        plain = TaskCall(call.task_name, call.arguments, defined.options, call.codec)
        wanted, usual = (
            new_record(one, self.config, self.service.executions, at=record.created_at) for one in (call, plain)
        )
        asked = {
            name for name in record.__struct_fields__ if name != "id" and getattr(wanted, name) != getattr(usual, name)
        }
        return all(getattr(record, name) == getattr(wanted, name) for name in ("arguments", *asked))

    def _told(self, call: TaskCall[Result], what: str) -> str:
        defined = find_task(call.task_name).options
        asked = {
            name: getattr(call.options, name)
            for name in defined.__struct_fields__
            if getattr(call.options, name) != getattr(defined, name)
        }
        options = "".join(f" {name}={value!r}" for name, value in asked.items())
        lines = [f"  {_line(record)}" for record in self._shelf.enqueued] or ["  nothing"]
        return "\n".join([f"{call.task_name} {call.arguments}{options} {what}. Enqueued so far:", *lines])


@dataclass(eq=False)
class Shelf:
    """The settings by which all services of one testbed find its one backend, and its time."""

    at: datetime
    queue_backend: str = "lq_core.testing.testbed:ShelfQueueBackend"
    enqueued: list[QueuedTaskRecord] = field(default_factory=list[QueuedTaskRecord])
    backend: BaseQueueBackend | None = None

    def now(self) -> datetime:
        """Tell the time."""
        return self.at


class ShelfQueueBackend(InMemoryQueueBackend):
    """
    The one backend of a testbed, however often it is made, from whatever event loop it is used.

    Nothing is merged with what others are about to do: a verb of memory waits for nothing, so that whoever calls it
    gets the answer at once.
    """

    def __new__(cls, config: QueueConfig | None = None, *, settings: Shelf) -> Self:  # noqa: ARG004 -- as __init__ has it
        """Return the one that was made first."""
        made = settings.backend
        return made if isinstance(made, cls) else super().__new__(cls)

    def __init__(self, config: QueueConfig | None = None, *, settings: Shelf) -> None:
        if settings.backend is None:
            super().__init__(config, clock=settings.now)
            self._shelf = settings
            settings.backend = self

    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """Store new records, and remember those that were created."""
        insertions = await super().insert_many(records)
        self._shelf.enqueued += [insertion.record for insertion in insertions if insertion.created]
        return insertions

    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        """Let pending records ask for something else, and remember them as what they are now."""
        kept = await super().amend_many(swaps)
        for swap in (swap for swap, done in zip(swaps, kept, strict=True) if done):
            ids = [record.id for record in self._shelf.enqueued]
            place = ids.index(swap.record.id)
            is_rescheduled = swap.record.scheduled_at != self._shelf.enqueued[place].scheduled_at
            # Delays count from when it was asked for.
            asked_at = self.now() if is_rescheduled else swap.record.created_at
            self._shelf.enqueued[place] = changed(swap.record, created_at=asked_at)
        return kept

    async def insert_within(
        self,
        connection: object,  # noqa: ARG002 -- memory has no transactions
        records: Sequence[QueuedTaskRecord],
    ) -> Sequence[Insertion]:
        """Store new records, whatever becomes of the transaction."""
        return await self.insert_many(records)

    async def amend_within(self, connection: object, swaps: Sequence[Swap]) -> Sequence[bool]:  # noqa: ARG002 -- as above
        """Amend records, whatever becomes of the transaction."""
        return await self.amend_many(swaps)

    async def get_within(self, connection: object, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:  # noqa: ARG002 -- as above
        """Read records."""
        return await self.get_many(ids)

    async def swap_within(self, connection: object, swap: Swap) -> bool:  # noqa: ARG002 -- as above
        """Swap one record, whatever becomes of the transaction."""
        return (await self.swap([swap]))[0]

    async def insert(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """Store new records at once."""
        return await self.insert_many(records)

    async def propose(self, proposals: Sequence[Proposal]) -> Sequence[Insertion]:
        """Store new records, or amend the holders of their keys, at once."""
        return await self._insert_or_amend(proposals)

    async def swap(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        """Swap records at once."""
        return (await self.settle_and_claim(swaps, None))[0]

    async def claim(self, claim: Claim) -> Claimed:
        """Claim due records at once."""
        return (await self.settle_and_claim((), claim))[1]


def _line(record: QueuedTaskRecord) -> str:
    delay = (record.scheduled_at - record.created_at).total_seconds()
    facts = {
        "queue": record.queue,
        "priority": record.priority or None,
        "key": record.key,
        "delay": delay or None,
    }
    told = "".join(f" {name}={value!r}" for name, value in facts.items() if value is not None)
    return f"{record.task_name} {record.arguments}{told}"
