"""What the author of a queue backend writes: a store, whose methods take many records at once."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar
from uuid import UUID

from lq_core.queue.messages import (
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
from lq_core.records.record import QueuedTaskRecord, TaskStatus
from lq_core.schedules.schedule_state import ScheduleState


class QueueStore(ABC):
    """
    Stores records. Every method raises StorageError when the database cannot be used.

    Subclass :class:`lq_core.BaseQueueBackend`, which adds the front door, and implement each method here.
    A store declares what it can do beyond them with the values here and the classes of
    :mod:`lq_core.queue.capabilities`.
    """

    shared: ClassVar[bool] = True
    """Whether other processes can reach the records."""

    answers_at_once: ClassVar[bool] = False
    """Whether the front door calls a method at once for each caller, because no method of this store waits."""

    claims_follow_inserts: ClassVar[bool] = False
    """Whether a claim finds the records of an earlier insert that has not returned yet."""

    follows_held_keys: ClassVar[bool] = False
    """
    Whether ``insert_many`` heeds held keys in ``after``: a record that comes after another one of the batch, which is
    not stored because its key is held, comes after the holder. :mod:`lq_core.queue.predecessors` has the order.
    """

    takes_turns: ClassVar[bool] = False
    """
    Whether a due record with a fairness key gets a turn, as :mod:`lq_core.queue.fairness` says: with ``insert_many``,
    or else before a claim looks for records. The turn is stored as ``scheduled_at``, so claims keep their order.
    ``lq_core.contracts.FairnessContract`` tests it.
    """

    @property
    def missing_file(self) -> Path | None:
        """The file that opening would create; None when it exists, or when the store has no file of its own."""
        file = self.own_file
        return None if file is None or file.exists() else file

    @property
    def own_file(self) -> Path | None:
        """The file that has the records, by the one path that all its names lead to; None if there is no such file."""
        return None

    # ------------------------------------------------------------ records

    @abstractmethod
    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """
        Store new records, all or none, and answer for each in order.

        A record whose key is held, also by an earlier record of the same batch, is not stored: its answer is the
        holder, with ``created=False``. A holder that has lapsed by now loses the key, as ``lifecycle.has_lapsed`` and
        ``lifecycle.release_key`` say.
        """

    @abstractmethod
    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        """
        Change what pending records ask for, as ``lifecycle.amend`` does.

        A swap is kept if the stored epoch is the expected one and ``key_released`` is stored as it is in the swap: a
        release does not change the epoch. It writes arguments, priority, metadata, ``scheduled_at``, ``expires_at`` and
        the new epoch.
        """

    @abstractmethod
    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        """
        Swap records, then claim due records, in one transaction where the database can.

        A swap is kept if the stored epoch is the expected one. It writes everything that a step of the lifecycle may
        change except ``cancel_requested``, which only a swap to an ended status clears. It never changes what the
        caller asked for (task, arguments, queue, priority, key, retries, ...). A released key stays released, whatever
        a swap says. A record that returns to pending while a cancel is requested is not claimable.

        The claim takes due, unexpired records of open queues by priority (high first), ``scheduled_at`` and ``id``,
        and applies ``lifecycle.claim`` or ``lifecycle.dispatch`` to each. In a long backlog it may miss, for seconds,
        a record that arrives ahead of the others. Where queues or concurrency keys have limits, it takes what
        :func:`lq_core.queue.limits.pick` picks, and excludes other claims meanwhile. A claim by a worker that is not
        registered takes nothing and answers ``alive=False``.
        """

    @abstractmethod
    async def get_many(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        """Read the records of these ids that exist, in any order."""

    @abstractmethod
    async def find(
        self, condition: RecordFilter, *, limit: int = 100, before: UUID | None = None, after: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        """
        Read one page of the records that match.

        The page starts before *before*, newest first. With *after* it starts after that id, oldest first
        (``UUID(int=0)`` for the first page).
        """

    @abstractmethod
    async def count(self, condition: RecordFilter) -> int:
        """Count the records that match."""

    @abstractmethod
    async def statistics(self) -> Statistics:
        """Count the records by queue and status, and find how long the oldest due record has waited."""

    @abstractmethod
    async def next_due(self, claim: Claim) -> datetime | None:
        """
        Find when the next record that this claim could take becomes due; None when no record waits.

        A moment in the past means that a record is due now. Overdue records and paused queues do not count. A record
        that a rate holds back counts from the next token on; one that a concurrency limit holds back does not count.
        """

    @abstractmethod
    async def overdue(self, *, limit: int) -> Sequence[QueuedTaskRecord]:
        """Read pending records whose ``expires_at`` has passed; may skip records that a transaction holds."""

    @abstractmethod
    async def unblocked(self, *, limit: int) -> Unblocked:
        """Read the blocked records whose predecessors have all ended or been deleted; may skip as ``overdue`` does."""

    @abstractmethod
    async def request_cancel(self, record_id: UUID, epoch: int) -> bool:
        """
        Apply ``lifecycle.request_cancel`` to a dispatched or running record: it gets no new epoch.

        Returns False when the epoch is not the stored one, or the record has another status.
        """

    @abstractmethod
    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        """Read every record that has not ended and whose cancel is requested."""

    @abstractmethod
    async def delete_ended(self, *, status: TaskStatus, before: datetime, limit: int) -> int:
        """Delete at most *limit* records of this status that ended before a moment and hold no key; return how many."""

    @abstractmethod
    async def delete_many(self, ids: Sequence[UUID]) -> int:
        """Delete those of these records that have ended and hold no key; return how many."""

    # ------------------------------------------------------------ workers

    @abstractmethod
    async def register(self, worker: WorkerInfo) -> None:
        """Store a worker as alive."""

    @abstractmethod
    async def beat(self, worker_id: str) -> bool:
        """Store a heartbeat; False when the worker has been declared dead or was never registered."""

    @abstractmethod
    async def retire(self, worker_id: str) -> None:
        """Forget a worker; the records that it still runs are orphans at once."""

    @abstractmethod
    async def workers(self) -> Sequence[WorkerInfo]:
        """Read the registered workers, with the moment of the last heartbeat."""

    @abstractmethod
    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        """
        Declare workers dead that sent no heartbeat for *timeout* seconds, and read the running records of dead workers.

        The clock of the database counts, where there is one.
        """

    @abstractmethod
    async def owned(self, worker_id: str) -> Sequence[QueuedTaskRecord]:
        """
        Read the running records with this worker id, in any order.

        lq calls it only after an uncertain claim. It may read the whole table, and must not cost claims an index.
        """

    # ------------------------------------------------------------ queues and schedules

    @abstractmethod
    async def queues(self) -> Mapping[str, QueueState]:
        """Read the state of each queue that has one."""

    @abstractmethod
    async def swap_queue(self, queue: str, old: QueueState, new: QueueState) -> bool:
        """
        Store *new* as the state of a queue, for all workers, if *old* is the stored state.

        A queue without a state has ``QueueState()``. When this returns, running records count against new limits.
        """

    @abstractmethod
    async def schedules(self) -> Sequence[ScheduleState]:
        """Read the state of every schedule, in any order."""

    async def schedule(self, name: str) -> ScheduleState | None:
        """Read the state of one schedule; None if it does not exist. Override this if a query can find it."""
        return next((state for state in await self.schedules() if state.name == name), None)

    @abstractmethod
    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        """
        Store the next version of a schedule's state and new records, in one transaction, and wake workers.

        Returns False and stores nothing unless the version before is the stored one; version 1 is for a new schedule.
        Skips a record whose id is stored already or whose key is held.
        """
