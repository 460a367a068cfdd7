"""
A place that keeps records: what can be written with the verbs that every backend has.

A queue backend never decides what happens to a record. It only makes sure that two owners cannot
both decide: every change matches ``(id, epoch)``.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from lq_core import lifecycle
from lq_core.clock import utc_now
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError, OwnershipLostError
from lq_core.queue import diagnosis
from lq_core.queue.batching import ClaimMerger, GroupCommit
from lq_core.queue.conflicts import insert_or_amend
from lq_core.queue.diagnosis import SAMPLE, Finding
from lq_core.queue.messages import (
    Claim,
    Claimed,
    Insertion,
    Migration,
    Proposal,
    QueueState,
    RecordFilter,
    Swap,
)
from lq_core.queue.verbs import QueueVerbs
from lq_core.queue.wake_ups import WakeUps
from lq_core.record import OWNED, QueuedTaskRecord, TaskStatus, check_name

_APART = (
    "{} keeps records apart from the application's database, so they cannot share its transactions. "
    "Use a queue backend that can, such as lq-postgres."
)

COUNTED_AT_ONCE = 500
"""How many records are read at once to be counted, where a backend has no better way."""


class BaseQueueBackend(QueueVerbs):
    """
    Keeps records and settles who may change one.

    The verbs of a backend (:class:`~lq_core.queue.verbs.QueueVerbs`) take batches; callers use :meth:`insert`,
    :meth:`swap` and :meth:`claim`, which coalesce whatever is waiting while the last batch is under way. A new backend
    is done when it passes :class:`lq_core.testing.QueueBackendContract`. An object belongs to the event loop that
    opened it.
    """

    def __init__(self, config: QueueConfig | None = None, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.config = config or QueueConfig()
        self.now = clock
        """Tells the time by which this backend judges what is due, aware and in UTC."""
        self._inserts = GroupCommit(self._insert_and_wake)
        self._proposals = GroupCommit(self._insert_or_amend)
        self._claims = ClaimMerger(self._settle_and_wake)
        self._waiting = GroupCommit(self._swap_at_once)
        self._held_back: set[tuple[str, ...]] = set()
        """The execution backends whose last claim has left something to a limit: an end may let it start."""
        self._wake_ups = WakeUps()

    async def open(self) -> None:
        """Connect, and bring the schema up to date; safe to do from several processes at once."""

    async def close(self) -> None:
        """Let go of every connection and thread; closing twice does no harm."""

    @property
    def address(self) -> str:
        """Where the records are, for logs and messages, without secrets."""
        return type(self).__name__

    # ------------------------------------------------------------ batches of whatever waits

    async def insert(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """Store new records together with whatever else is waiting to be stored, and wake the workers."""
        return await self._inserts.submit(records)

    async def propose(self, proposals: Sequence[Proposal]) -> Sequence[Insertion]:
        """
        Store new records; where a key is held, amend the holder if that is proposed and it has not been started.

        Concurrent proposals for one key are one write, in which the last one counts. The insert is all or none; what
        is amended follows it.
        """
        return await self._proposals.submit(proposals)

    def swap(self, swaps: Sequence[Swap]) -> Awaitable[Sequence[bool]]:
        """Swap records together with whatever else is waiting; an answer of False means that the epoch is over."""
        return self._claims.swap(swaps)

    def swap_waiting(self, swaps: Sequence[Swap]) -> Awaitable[Sequence[bool]]:
        """Swap records that nobody runs: a transaction of the application may hold them, and no claim waits for it."""
        return self._waiting.submit(swaps)

    async def claim(self, claim: Claim) -> Claimed:
        """Claim due records, and settle whatever is waiting in the same round trip."""
        claimed = await self._claims.claim(claim)
        if claimed.held_back:
            self._held_back.add(claim.execution_backends)
        elif self._held_back:
            self._held_back.discard(claim.execution_backends)
        return claimed

    async def change_queue(self, queue: str, **changes: object) -> QueueState:
        """
        Change some fields of the state of a queue, whatever others change meanwhile, and return the new state.

        Raises ConfigurationError for a name that no queue can have.
        """
        check_name("queue", queue)
        while True:
            old = (await self.queues()).get(queue, QueueState())
            new = replace(old, **changes)
            # A limit that is there is set again: the first time, what runs may not have been counted to the end.
            if (new == old and not changes.get("limits")) or await self.swap_queue(queue, old, new):
                return new

    async def claim_one(self, record_id: UUID, epoch: int, *, worker_id: str) -> QueuedTaskRecord:
        """
        Start one record by id and epoch, whatever its queue.

        Raises OwnershipLostError when the record is gone, has moved on, is not waiting, should have started before,
        waits for others, or is to be cancelled.
        """
        at = self.now()
        for record in await self.get_many([record_id]):
            if record.epoch == epoch and lifecycle.can_be_started(record, at=at):
                started = lifecycle.claim(record, worker_id=worker_id, at=at)
                if (await self.swap_waiting([Swap(record=started, epoch=epoch)]))[0]:
                    return started
        raise OwnershipLostError(record_id, epoch)

    async def get(self, record_id: UUID) -> QueuedTaskRecord | None:
        """Read one record; None if there is none."""
        records = await self.get_many([record_id])
        return records[0] if records else None

    async def count(self, condition: RecordFilter) -> int:
        """Count the records that match."""
        return sum([len(page) async for page in self.pages(condition, limit=COUNTED_AT_ONCE)])

    async def pages(self, condition: RecordFilter, *, limit: int) -> AsyncGenerator[Sequence[QueuedTaskRecord]]:
        """Read all records that match, oldest first, at most *limit* at a time."""
        after = UUID(int=0)
        while page := await self.find(condition, limit=limit, after=after):
            yield page
            after = page[-1].id

    async def diagnose(self) -> Sequence[Finding]:
        """Look at what can hurt, change nothing, and say what to do about what does: the checks of ``lq doctor``."""
        statistics, workers, queues = await self.statistics(), await self.workers(), await self.queues()
        at = self.now()
        timeout = self.config.heartbeat_timeout
        return [
            diagnosis.oldest_ready(statistics, workers, queues, at=at),
            diagnosis.heard_of(statistics, workers, timeout=timeout, at=at),
            diagnosis.unserved(await self._newest(TaskStatus.PENDING), workers),
            diagnosis.abandoned(await self._newest(TaskStatus.RUNNING), workers),
            diagnosis.unknown_tasks(await self._newest(TaskStatus.FAILED)),
        ]

    async def _newest(self, status: TaskStatus) -> Sequence[QueuedTaskRecord]:
        return await self.find(RecordFilter(statuses=(status,)), limit=SAMPLE)

    # ------------------------------------------------------------ for a store with a schema

    async def pending_migrations(self) -> Sequence[Migration]:
        """Tell what opening would do to the schema, in order; it need not be open. Raises as :meth:`open` does."""
        return ()

    async def migrate(self) -> Sequence[Migration]:
        """Bring the schema up to date, also where opening refuses to, and tell what that took; it need not be open."""
        return ()

    # ------------------------------------------------------------ for a store that shares the application's database

    async def insert_within(self, connection: object, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """
        Store new records in the open transaction of *connection*, which belongs to the application.

        Raises ConfigurationError when the records are not kept in the application's database.
        """
        raise ConfigurationError(_APART.format(type(self).__name__))

    async def amend_within(self, connection: object, swaps: Sequence[Swap]) -> Sequence[bool]:
        """Amend records in the open transaction of *connection*; raises as :meth:`insert_within` does."""
        raise ConfigurationError(_APART.format(type(self).__name__))

    async def get_within(self, connection: object, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        """Read records as the open transaction of *connection* sees them; raises as :meth:`insert_within` does."""
        raise ConfigurationError(_APART.format(type(self).__name__))

    async def swap_within(self, connection: object, swap: Swap) -> bool:
        """Swap one record in the open transaction of *connection*; raises as :meth:`insert_within` does."""
        raise ConfigurationError(_APART.format(type(self).__name__))

    async def _swap_at_once(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        return (await self._settle_and_wake(swaps, None))[0]

    async def _settle_and_wake(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        answers = await self.settle_and_claim(swaps, claim)
        statuses = {swap.record.status for swap in swaps}
        if TaskStatus.PENDING in statuses or (self._held_back and statuses - OWNED):
            self.wake()
        return answers

    async def _insert_and_wake(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        insertions = await self.insert_many(records)
        self.wake()
        return insertions

    async def _insert_or_amend(self, proposals: Sequence[Proposal]) -> Sequence[Insertion]:
        try:
            return await insert_or_amend(proposals, insert=self.insert_many, amend=self.amend_many)
        finally:
            self.wake()  # Some may be stored although others could not be amended.

    # ------------------------------------------------------------ wake-ups: hints, never the truth

    @property
    def changes(self) -> int:
        """A number that rises whenever there may be new work; read it before looking, pass it to wait_for_work."""
        return self._wake_ups.number

    def wake(self) -> None:
        """Say that there may be new work; call it in the event loop."""
        self._wake_ups.ring()

    async def wait_for_work(self, changes: int, *, timeout: float) -> None:
        """Return when there may be work that was not there at *changes*, or after *timeout* seconds."""
        await self._wake_ups.wait(changes, timeout=timeout)
