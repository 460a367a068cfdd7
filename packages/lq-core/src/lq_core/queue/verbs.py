"""What lq asks of a place that keeps records: few verbs, batch-first."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

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
from lq_core.record import QueuedTaskRecord, TaskStatus
from lq_core.schedule_state import ScheduleState


class QueueVerbs(ABC):
    """
    What each backend writes in its own way; :class:`lq_core.BaseQueueBackend` is written with it.

    The verbs raise StorageError when the database cannot be used.
    """

    @abstractmethod
    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """
        Store new records, all or none, and answer for each in order.

        A record whose key is held by another, also by an earlier one of the same batch, is not stored: its
        answer is the holder, with ``created=False``. A holder that has lapsed by now does not keep anybody from the
        key: it is let go of, as ``lifecycle.has_lapsed`` and ``lifecycle.release_key`` say.
        """

    @abstractmethod
    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        """
        Let pending records ask for something else: what ``lifecycle.amend`` makes of them.

        A swap is kept if the stored epoch is the expected one, and nobody has taken the key from the record meanwhile,
        which does not change the epoch. It writes arguments, priority, metadata,
        ``scheduled_at`` and ``expires_at``, and the new epoch; nothing else.
        """

    @abstractmethod
    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        """
        Swap records, then claim due ones, in one transaction where the database can.

        A swap is kept if the stored epoch is the expected one. It writes everything that a step of the lifecycle may
        change but ``cancel_requested``, which only a swap to an ended status clears. What was asked (task, arguments,
        queue, priority, key, retries, ...) never changes; a key is let go of, never taken back: what is released stays
        so, whatever a swap says. A record that is swapped back to pending while a cancel is requested is not claimable.

        The claim takes due, unexpired records of open queues in the order of priority (high first),
        ``scheduled_at``, ``id``, and does to each what ``lifecycle.claim`` (or ``lifecycle.dispatch``) does; in a long
        backlog, what comes in before its front may be overlooked for seconds. Overdue records are never claimed. Where
        queues or concurrency keys have limits, it takes what :func:`lq_core.queue.limits.pick` picks, and no other
        claim comes in between. A claim by a worker that is not registered takes nothing and answers ``alive=False``.
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

        Newest first, from the one before *before* on; or, when *after* is given, oldest first from the one after it
        (``UUID(int=0)`` for the first page).
        """

    @abstractmethod
    async def statistics(self) -> Statistics:
        """Count the records by queue and status, and tell how long the oldest due record has waited."""

    @abstractmethod
    async def register(self, worker: WorkerInfo) -> None:
        """Make a worker known and alive."""

    @abstractmethod
    async def beat(self, worker_id: str) -> bool:
        """Say that a worker is alive; False if it has been declared dead (or was never registered)."""

    @abstractmethod
    async def retire(self, worker_id: str) -> None:
        """Forget a worker; what it still runs becomes orphaned at once."""

    @abstractmethod
    async def workers(self) -> Sequence[WorkerInfo]:
        """Read the workers that are registered, with the moment each was last heard of."""

    @abstractmethod
    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        """
        Declare workers dead unheard of for *timeout* seconds, and read running records whose worker is gone.

        By the database's clock where there is one.
        """

    @abstractmethod
    async def overdue(self, *, limit: int) -> Sequence[QueuedTaskRecord]:
        """Read pending records whose ``expires_at`` has passed; what a transaction holds may be left for later."""

    @abstractmethod
    async def freed(self, *, limit: int) -> Freed:
        """Read blocked records of which every one that they come after has ended, or is there no more; as above."""

    @abstractmethod
    async def request_cancel(self, record_id: UUID, epoch: int) -> bool:
        """
        Mark a dispatched or running record as asked to stop, without a new epoch.

        False when the epoch is over, or when the record is neither.
        """

    @abstractmethod
    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        """Read every record that has not ended and has been asked to stop."""

    @abstractmethod
    async def delete_ended(self, *, status: TaskStatus, before: datetime, limit: int) -> int:
        """
        Delete at most *limit* records of this ended status that ended before a moment, and say how many.

        A record that still holds a key stays.
        """

    @abstractmethod
    async def delete_many(self, ids: Sequence[UUID]) -> int:
        """Delete those of these records that have ended and hold no key, and say how many."""

    @abstractmethod
    async def next_due(self, claim: Claim) -> datetime | None:
        """
        Tell when the next record that this claim could take becomes due; None when none is waiting.

        A moment that has passed means that one is due already. Overdue records and paused queues do not count; what
        a rate holds back counts from the next token on, what a concurrency limit holds back does not count.
        """

    @abstractmethod
    async def swap_queue(self, queue: str, old: QueueState, new: QueueState) -> bool:
        """
        Keep *new* as the state of a queue, for all workers, if *old* is what is kept.

        ``QueueState()`` is the state of a queue that nobody has set one for. Once this returns, what runs already
        counts against new limits.
        """

    @abstractmethod
    async def queues(self) -> Mapping[str, QueueState]:
        """Read the state of the queues that somebody has set one for."""

    @abstractmethod
    async def schedules(self) -> Sequence[ScheduleState]:
        """Read what is remembered of every schedule, in any order."""

    @abstractmethod
    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        """
        Keep the next version of a schedule's state together with new records, in one transaction, and wake workers.

        False, and nothing is stored, when the version before is not the current one; version 1 is for a schedule that
        is not known. A record whose id is there already, or whose key is held, is passed over.
        """
