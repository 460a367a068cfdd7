"""A queue for the tests of an application: in memory, without a worker, and with a clock that the test moves."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import ClassVar, Final, ParamSpec, Self, TypeVar
from uuid import UUID

from msgspec.structs import replace as changed

from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.clock import in_utc, utc_now
from lq_core.foundation.duration import Duration, seconds
from lq_core.foundation.errors import QueueError
from lq_core.presence.presence import Presence
from lq_core.queue import BaseQueueBackend, Claim, Insertion, RecordFilter, Swap, Transactions
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.records.record import QueuedTaskRecord, TaskStatus
from lq_core.schedules.schedule import find_schedule
from lq_core.service import QueueService
from lq_core.tasks.call import TaskCall
from lq_core.tasks.known_tasks import find_task
from lq_core.tasks.task import Task
from lq_core.worker.scheduler import Scheduler
from lq_core.worker.sweeps import Sweeps

Params = ParamSpec("Params")
Result = TypeVar("Result")

SHORTEST_DELAY: Final = 0.001
"""The turns of records with fairness keys differ by less from the moments at which they are due."""

MOST: Final = 10_000
"""The largest number of attempts in one drain."""


class QueueTestbed:
    """
    An open :class:`lq_core.QueueService` on a store of its own: ``async with QueueTestbed() as bed``.

    Time stands still until :meth:`advance` moves it. Records run in this process when you call :meth:`drain`, with any
    execution backend; only ``immediate`` tasks run during their enqueue. The testbed uses *config*, except its stores:
    all queues are in one. An application with :attr:`config` shares the records, also in another event loop; do not
    start a worker.

    The declared schedules that *schedules* names fire by this clock, in :meth:`drain`. Records that you enqueue
    ``within`` a transaction are stored at once, and stay after a rollback.
    """

    def __init__(
        self, config: QueueConfig | None = None, *, at: datetime | None = None, schedules: Sequence[str] = ()
    ) -> None:
        self._shelf = Shelf(at=in_utc("at", at or utc_now()))
        self.config = replace(config or QueueConfig(), queue_backend=self._shelf, stores={}, routes={}, store=None)
        """The configuration with which an application shares this queue."""

        self.service = QueueService(self.config)
        self._presence: Presence | None = None
        self._sweeps = Sweeps(self.service)
        self._scheduler = Scheduler(self.service, declared=lambda: {name: find_schedule(name) for name in schedules})

    async def __aenter__(self) -> Self:
        await self.service.open()
        self._presence = self.service.new_presence()
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
        """Return the time of this queue."""
        return self._shelf.at

    def advance(self, by: Duration) -> None:
        """
        Move the clock by seconds or a timedelta, without running due records.

        The timeouts of running tasks use real time.
        """
        self._shelf.at += timedelta(seconds=seconds(by))

    # ------------------------------------------------------------ run

    async def drain(self, *, within: Duration = 0.0) -> Mapping[TaskStatus, int]:
        """
        Run the due records, one after another, and those that they enqueue; count the records by their new status.

        A failure with a retry counts as ``pending``, a record that was not started in time as ``expired``. With
        *within*, seconds or a timedelta, also run the retries and delayed records that become due in this time, each
        at its time; at the end, the clock has moved by *within*.

        Raises QueueError after 10,000 attempts.
        """
        until = self.now() + timedelta(seconds=seconds(within))
        if self._presence is None:
            raise QueueError("The testbed is not open: use `async with QueueTestbed() as bed`.")
        presence = self._presence
        await presence.start()
        outcomes = Counter[TaskStatus]()
        while True:
            claim = await self._prepared(presence.worker_id, outcomes)
            claimed = await presence.claim(claim)
            for record in claimed.records:
                ended = await presence.run(record)
                outcomes[ended.status] += 1
                if outcomes.total() >= MOST:
                    raise QueueError(
                        f"After {MOST:,} attempts there are still due records, last {record.task_name}: "
                        "does a task enqueue itself, or raise RetryLater(0), for ever?"
                    )
            if not claimed.records:
                due = min([moment async for moment in self._ahead(claim)], default=None)
                if due is None or due > until:
                    break
                self._shelf.at = max(due, self._shelf.at)
        self._shelf.at = max(until, self._shelf.at)
        return dict(outcomes)

    async def _prepared(self, worker_id: str, outcomes: Counter[TaskStatus]) -> Claim:
        """Do the maintenance of a worker, and return its next claim."""
        backend = self.service.queue_backend
        while not await self._scheduler.step():
            pass
        outcomes[TaskStatus.EXPIRED] += len(await backend.overdue(limit=MOST))
        await self._sweeps.expire()
        await self._sweeps.cancel()
        while await self._sweeps.unblock_page():
            pass
        outcomes += Counter()  # Leaves out what is 0.
        pending = await backend.find(RecordFilter(statuses=(TaskStatus.PENDING,)), limit=MOST)
        names = tuple(sorted({record.execution_backend for record in pending}))
        return Claim(worker_id=worker_id, limit=1, execution_backends=names)

    async def _ahead(self, claim: Claim) -> AsyncGenerator[datetime]:
        """Yield the next due times."""
        if (due := await self.service.queue_backend.next_due(claim)) is not None:
            yield due
        for state in await self.service.schedules():
            if (due := state.next_due(after=self.now())) is not None:
                yield due

    # ------------------------------------------------------------ what was enqueued

    def enqueued(self, task: Task[..., Result] | None = None) -> Sequence[QueuedTaskRecord]:
        """Return all enqueued records, of one task or of all, in order, as they were when they were enqueued."""
        return [record for record in self._shelf.enqueued if task is None or record.task_name == task.name]

    def assert_enqueued(self, task: Task[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs) -> None:
        """
        Fail unless this call has been enqueued.

        It compares the options that you give: ``assert_enqueued(send.using(priority=5, delay=60), user_id)``. The
        options in the definition of the task do not count.
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
        """Compare the arguments, and the options that differ from the definition of the task."""
        defined = find_task(call.task_name)
        plain = TaskCall(call.task_name, call.arguments, defined.options, call.codec)
        wanted, usual = (self.service.record_of(one, at=record.created_at) for one in (call, plain))
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
    """The settings with which all services of one testbed share its backend and its clock."""

    at: datetime
    queue_backend: str = "lq_core.testing.testbed:ShelfQueueBackend"
    enqueued: list[QueuedTaskRecord] = field(default_factory=list[QueuedTaskRecord])
    backend: BaseQueueBackend | None = None

    def now(self) -> datetime:
        """Return the time."""
        return self.at


class ShelfQueueBackend(InMemoryQueueBackend, Transactions):
    """
    The one backend of a testbed: each construction returns the same object, for all event loops.

    It does not batch calls, because the methods of this store never wait.
    """

    answers_at_once: ClassVar[bool] = True

    def __new__(cls, config: QueueConfig | None = None, *, settings: Shelf) -> Self:  # noqa: ARG004 -- as __init__ has it
        """Return the first one."""
        made = settings.backend
        return made if isinstance(made, cls) else super().__new__(cls)

    def __init__(self, config: QueueConfig | None = None, *, settings: Shelf) -> None:
        if settings.backend is None:
            super().__init__(config, clock=settings.now)
            self._shelf = settings
            settings.backend = self

    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """Store new records, and remember the created ones."""
        insertions = await super().insert_many(records)
        self._shelf.enqueued += [insertion.record for insertion in insertions if insertion.created]
        return insertions

    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        """Amend pending records, and remember their new state."""
        kept = await super().amend_many(swaps)
        for swap in (swap for swap, done in zip(swaps, kept, strict=True) if done):
            ids = [record.id for record in self._shelf.enqueued]
            place = ids.index(swap.record.id)
            is_rescheduled = swap.record.scheduled_at != self._shelf.enqueued[place].scheduled_at
            # A delay counts from the amendment.
            asked_at = self.now() if is_rescheduled else swap.record.created_at
            self._shelf.enqueued[place] = changed(swap.record, created_at=asked_at)
        return kept

    async def insert_within(
        self,
        connection: object,  # noqa: ARG002 -- memory has no transactions
        records: Sequence[QueuedTaskRecord],
    ) -> Sequence[Insertion]:
        """Store new records, independent of the transaction."""
        return await self.insert_many(records)

    async def amend_within(self, connection: object, swaps: Sequence[Swap]) -> Sequence[bool]:  # noqa: ARG002 -- as above
        """Amend records, independent of the transaction."""
        return await self.amend_many(swaps)

    async def get_within(self, connection: object, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:  # noqa: ARG002 -- as above
        """Read records."""
        return await self.get_many(ids)

    async def swap_within(self, connection: object, swap: Swap) -> bool:  # noqa: ARG002 -- as above
        """Swap one record, independent of the transaction."""
        return (await self.swap([swap]))[0]


def _line(record: QueuedTaskRecord) -> str:
    delay = (record.scheduled_at - record.created_at).total_seconds()
    facts = {
        "queue": record.queue,
        "priority": record.priority or None,
        "key": record.key,
        "fairness_key": record.fairness_key,
        "delay": delay if delay >= SHORTEST_DELAY else None,
    }
    told = "".join(f" {name}={value!r}" for name, value in facts.items() if value is not None)
    return f"{record.task_name} {record.arguments}{told}"
