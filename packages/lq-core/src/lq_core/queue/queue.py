"""
The front door of every queue backend: what lq calls, written once for every store.

It adds group commit, wake-ups, pages and calls for a single record.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import final
from uuid import UUID

from msgspec.structs import replace

from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError, OwnershipLostError
from lq_core.foundation.validation import Name, check_value
from lq_core.queue import diagnosis
from lq_core.queue.batching import ClaimMerger, GroupCommit
from lq_core.queue.capabilities import Backups, Findings, Migrations, Notifications, Transactions
from lq_core.queue.conflicts import insert_or_amend
from lq_core.queue.diagnosis import SAMPLE, Finding
from lq_core.queue.messages import (
    Backup,
    Claim,
    Claimed,
    Insertion,
    Migration,
    Proposal,
    QueueState,
    RecordFilter,
    Statistics,
    Swap,
)
from lq_core.queue.own_loop import OwnLoop, in_own_loop
from lq_core.queue.store import QueueStore
from lq_core.queue.wake_ups import WakeUps
from lq_core.records import lifecycle
from lq_core.records.record import OWNED, QueuedTaskRecord, TaskStatus


class Queue(QueueStore):
    """
    The calls that are the same for every store; a subclass that overrides one raises TypeError.

    A call from another thread is refused with advice while the event loop that uses the backend runs.

    Concurrent calls of :meth:`insert`, :meth:`swap` and :meth:`claim` are merged: calls that wait while a batch runs
    share the next batch.

    Its own attributes have two underscores, so that those of a subclass never replace them.
    """

    def __init__(self, config: QueueConfig, *, clock: Callable[[], datetime]) -> None:
        self.config = config
        self.now = clock
        """Returns the time of this backend, aware and in UTC."""
        at_once, own_loop = self.answers_at_once, OwnLoop(any_loop=self.answers_at_once)
        self.__own_loop = own_loop
        self.__inserts = GroupCommit(self.__insert_and_wake, own_loop, at_once=at_once)
        self.__proposals = GroupCommit(self.__insert_or_amend, own_loop, at_once=at_once)
        self.__claims = ClaimMerger(self.__settle_and_wake, own_loop, at_once=at_once)
        self.__waiting = GroupCommit(self.__swap_at_once, own_loop, at_once=at_once)
        self.__keys_may_wait = isinstance(self, Transactions)
        self.__held_back: set[tuple[str, ...]] = set()
        """The execution backends whose last claim met a limit; when a record ends, another may start."""
        self.__wake_ups = WakeUps()

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        taken = sorted(name for name in vars(cls) if name in FRONT_DOOR)
        if taken:
            raise TypeError(
                f"{cls.__name__} overrides {', '.join(taken)}, which is the same for every queue backend. "
                "Implement the methods of lq_core.queue.QueueStore, or a class of lq_core.queue.capabilities."
            )
        for name in vars(cls).keys() & QueueStore.__abstractmethods__:
            setattr(cls, name, in_own_loop(getattr(cls, name), Queue.__own_loop_of))

    def __own_loop_of(self) -> OwnLoop:
        return self.__own_loop

    # ------------------------------------------------------------ batches

    @final
    async def insert(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """Store new records with the next batch, and wake the workers."""
        if self.claims_follow_inserts:
            self.wake()  # An idle worker of this process prepares its claim meanwhile.
        if self.__keys_may_wait and any(record.key is not None for record in records):
            return await self.__proposals.submit([Proposal(record) for record in records])
        return await self.__inserts.submit(records)

    @final
    async def propose(self, proposals: Sequence[Proposal]) -> Sequence[Insertion]:
        """
        Store new records; where a key is held, amend the holder if the proposal says so and it has not been started.

        Concurrent proposals for one key are one write, in which the last one counts. The inserts are all or none; the
        amendments follow them, and what comes after amended records follows these.
        """
        return await self.__proposals.submit(proposals)

    @final
    def swap(self, swaps: Sequence[Swap]) -> Awaitable[Sequence[bool]]:
        """Swap records with the next batch; an answer of False means that the stored epoch is another one."""
        return self.__claims.swap(swaps)

    @final
    def swap_waiting(self, swaps: Sequence[Swap]) -> Awaitable[Sequence[bool]]:
        """Swap records that do not run. A transaction of the application may hold them, so no claim waits for this."""
        return self.__waiting.submit(swaps)

    @final
    async def claim(self, claim: Claim) -> Claimed:
        """Claim due records, and settle the swaps that wait in the same round trip."""
        claimed = await self.__claims.claim(claim)
        if claimed.held_back:
            self.__held_back.add(claim.execution_backends)
        elif self.__held_back:
            self.__held_back.discard(claim.execution_backends)
        return claimed

    async def __swap_at_once(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        return (await self.__settle_and_wake(swaps, None))[0]

    async def __settle_and_wake(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        answers = await self.settle_and_claim(swaps, claim)
        statuses = {swap.record.status for swap in swaps}
        if TaskStatus.PENDING in statuses or (self.__held_back and statuses - OWNED):
            self.wake()
        return answers

    async def __insert_and_wake(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        insertions = await self.insert_many(records)
        self.wake()
        return insertions

    async def __insert_or_amend(self, proposals: Sequence[Proposal]) -> Sequence[Insertion]:
        try:
            return await insert_or_amend(proposals, insert=self.insert_many, amend=self.amend_many)
        finally:
            self.wake()  # Records may be stored even if an amendment failed.

    # ------------------------------------------------------------ records and queues

    @final
    async def get(self, record_id: UUID) -> QueuedTaskRecord | None:
        """Read one record; None if it does not exist."""
        return next(iter(await self.get_many([record_id])), None)

    @final
    async def claim_one(self, record_id: UUID, epoch: int, *, worker_id: str) -> QueuedTaskRecord:
        """
        Start one record by id and epoch, whatever its queue.

        Raises OwnershipLostError when the record is gone, has another epoch, is not pending, has expired, is blocked,
        or has a cancel request.
        """
        for record in await self.get_many([record_id]):
            at = self.now()
            if record.epoch == epoch and lifecycle.can_be_started(record, at=at):
                started = lifecycle.claim(record, worker_id=worker_id, at=at)
                if (await self.swap_waiting([Swap(record=started, epoch=epoch)]))[0]:
                    return started
        raise OwnershipLostError(record_id, epoch)

    @final
    async def pages(self, condition: RecordFilter, *, limit: int) -> AsyncGenerator[Sequence[QueuedTaskRecord]]:
        """Read all records that match, oldest first, at most *limit* at a time."""
        after = UUID(int=0)
        while page := await self.find(condition, limit=limit, after=after):
            yield page
            after = page[-1].id

    @final
    async def change_queue(self, queue: str, **changes: object) -> QueueState:
        """
        Change some fields of the state of a queue and return the new state; concurrent changes are all kept.

        Raises ConfigurationError for an invalid name.
        """
        check_value("The queue", queue, Name)
        while True:
            old = (await self.queues()).get(queue, QueueState())
            new = replace(old, **changes)
            # A limit is stored again even if it is the same: the first write may not have counted every running record.
            if new == old and not changes.get("limits"):
                return new
            kept = await self.swap_queue(queue, old, new)
            self.wake()
            if kept:
                return new

    # ------------------------------------------------------------ wake-ups

    @property
    @final
    def changes(self) -> int:
        """A number that rises when there may be new work. Read it, look for work, then pass it to wait_for_work."""
        return self.__wake_ups.number

    @final
    def wake(self) -> None:
        """Signal that there may be new work; any thread may call this."""
        self.__own_loop.call(self.__wake_ups.ring)

    @final
    async def wait_for_work(self, changes: int, *, timeout: float) -> None:
        """Return when there may be newer work than at *changes*, or after *timeout* seconds."""
        if isinstance(self, Notifications):
            self.listen(self.wake)
        await self.__wake_ups.wait(changes, timeout=timeout)

    # ------------------------------------------------------------ capabilities

    @property
    @final
    def transactions(self) -> Transactions:
        """The methods for transactions of the application; ConfigurationError if the store has none."""
        if isinstance(self, Transactions):
            return self
        raise ConfigurationError(
            f"{type(self).__name__} keeps records apart from the application's database, so they cannot share its "
            "transactions. Use a queue backend that can, such as lq-postgres."
        )

    @final
    async def pending_migrations(self) -> Sequence[Migration]:
        """List what opening would do to the schema, in order; works on a closed backend. Raises as ``open`` does."""
        return await self.missing_migrations() if isinstance(self, Migrations) else ()

    @final
    async def migrate(self) -> Sequence[Migration]:
        """Bring the schema up to date, even where opening refuses to, and list what was missing."""
        return await self.apply_migrations() if isinstance(self, Migrations) else ()

    @final
    async def back_up(self, target: Path, *, overwrite: bool = False) -> Backup:
        """
        Copy everything to a file while processes use the queue, check the copy, and say what is in it.

        Works on a closed backend. Raises ConfigurationError if the store cannot do this, and StorageError if a file
        cannot be used, or *target* exists and *overwrite* is False.
        """
        if isinstance(self, Backups):
            return await self.copy_to(target, overwrite=overwrite)
        raise ConfigurationError(
            f"{type(self).__name__} cannot copy its records to a file. Use the tools of its database, for example "
            "pg_dump for PostgreSQL."
        )

    @final
    async def diagnose(self) -> Sequence[Finding]:
        """Run the checks of ``lq doctor``, which change nothing and give advice for each warning."""
        findings = await self.findings() if isinstance(self, Findings) else ()
        if any(finding.advice for finding in findings) and await self.pending_migrations():
            return findings  # The records cannot be read.
        statistics, workers, queues = await self.statistics(), await self.workers(), await self.queues()
        at = self.now()
        timeout = self.config.heartbeat_timeout
        pending = await self.__newest(TaskStatus.PENDING, statistics)
        oldest = await self.__oldest(TaskStatus.PENDING) if len(pending) == SAMPLE else ()
        return [
            *findings,
            diagnosis.oldest_ready(statistics, workers, queues, at=at),
            diagnosis.heard_of(statistics, workers, timeout=timeout, at=at),
            diagnosis.unserved(pending, workers),
            diagnosis.abandoned(await self.__newest(TaskStatus.RUNNING, statistics), workers),
            diagnosis.unknown_tasks([*oldest, *pending], await self.__newest(TaskStatus.FAILED, statistics)),
        ]

    async def __newest(self, status: TaskStatus, statistics: Statistics) -> Sequence[QueuedTaskRecord]:
        # A store may walk all records to find one more than there are.
        limit = min(SAMPLE, statistics.total(status))
        return await self.find(RecordFilter(statuses=(status,)), limit=limit) if limit else ()

    async def __oldest(self, status: TaskStatus) -> Sequence[QueuedTaskRecord]:
        return await self.find(RecordFilter(statuses=(status,)), limit=SAMPLE, after=UUID(int=0))


FRONT_DOOR = frozenset(name for name in vars(Queue) if not name.startswith("_"))
"""The names that no subclass may override."""
