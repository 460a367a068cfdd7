"""
One owner of records: it claims them under one worker id, keeps that id alive, and runs and stops them.

Each worker, container, testbed and the inline runs of a service have one. Presences in one process do not touch the
records of each other.
"""

import asyncio
from collections.abc import MutableMapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from typing import Final

from lq_core.attempts.attempt import Attempt, Perform, StopReason, Surroundings
from lq_core.attempts.batches import Batches
from lq_core.attempts.deadlines import Deadlines
from lq_core.attempts.injector import Injector
from lq_core.attempts.middleware_chain import through_middleware
from lq_core.attempts.thread import to_the_end
from lq_core.foundation.begun_task import begin, first_turn
from lq_core.foundation.errors import OwnershipLostError
from lq_core.foundation.event_log import event_log
from lq_core.presence.claim_failures import ClaimFailures
from lq_core.presence.heartbeat import Heartbeat
from lq_core.presence.kept_steps import KeptSteps
from lq_core.presence.liveness import Liveness
from lq_core.presence.outcome_storing import Settling
from lq_core.presence.progress import ProgressReports
from lq_core.presence.slots import Execute, Execution, Slots, TakenSlots
from lq_core.presence.uncertain_claims import Audit
from lq_core.presence.unknown_tasks import UnknownTasks
from lq_core.queue import BaseQueueBackend, Claim, Claimed, WorkerInfo
from lq_core.records.record import Fence, QueuedTaskRecord, TaskStatus
from lq_core.tasks.middleware import Middleware
from lq_core.tasks.owner import Owner

log = event_log()

SETTLE_GRACE: Final = 5.0
"""Seconds that :meth:`Presence.close` waits for stopped tasks."""


class Presence:
    """
    Owns the records that are claimed under its worker id.

    *directory* maps worker ids to presences; a presence enters and removes all its ids.
    """

    def __init__(
        self,
        info: WorkerInfo,
        backend: BaseQueueBackend,
        settling: Settling,
        *,
        injector: Injector,
        middleware: Sequence[Middleware],
        directory: MutableMapping[str, "Presence"],
    ) -> None:
        self._backend = backend
        self._settling = settling
        self._middleware = middleware
        self._directory = directory
        self._attempts: dict[Fence, Attempt] = {}
        # The keys are asyncio tasks, because hashing a fence is slow.
        self._executions: dict[Execution, Fence] = {}
        self._slots = TakenSlots()
        self._claimed: set[Fence] = set()
        """The held records that are not executed yet."""

        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._deadlines = Deadlines()
        self._progress = ProgressReports(backend, self._attempts)
        self._heartbeat = Heartbeat(backend, info, lapsed=self._stop_lapsed)
        self.claim_failures = ClaimFailures(self._heartbeat, limit=backend.config.heartbeat_timeout)
        self._liveness = Liveness(backend, self._heartbeat, self._attempts)
        self._audit = Audit(backend, worker_id=lambda: self.worker_id, held=lambda: self.held, swap=settling.swap)
        self._unknown = UnknownTasks(
            backend, swap=settling.swap, is_closing=lambda: self._closing, holding=self, uncertain=self._audit.look_soon
        )
        keep = KeptSteps(backend, self._attempts).keep
        self._surroundings = Surroundings(
            now=backend.now,
            max_result_bytes=backend.config.max_payload_bytes,
            unknown_task_patience=backend.config.unknown_task_patience,
            deadlines=self._deadlines,
            injector=injector,
            batches=Batches(injector, free=self._slots.free, hold=self._slots.hold),
            is_alone=self._is_alone,
            owner=Owner(report=self._progress.report, keep=keep, read=backend.get_many, complete=self._complete_within),
        )
        directory[info.id] = self

    # ------------------------------------------------------------ liveness

    @property
    def worker_id(self) -> str:
        """The current worker id."""
        return self._heartbeat.worker_id

    @property
    def is_closing(self) -> bool:
        """Whether it stops and releases its records."""
        return self._closing

    async def start(self, *, in_container: bool = False) -> None:
        """
        Register the worker id, once, and keep it alive; start again what code of the application has cancelled.

        The processes of this host see at once when this one has died, unless it is *in_container*: whoever started
        the container knows more about its end.
        """
        await self._heartbeat.register(in_container=in_container)
        self._liveness.start()

    async def beat(self) -> None:
        """Store now that the worker is alive."""
        await self._heartbeat.beat()

    async def close(self, *, grace: float | None = None) -> None:
        """
        Stop and release the running records, and retire the worker id. You may close twice.

        Tasks have *grace* seconds to stop, ``SETTLE_GRACE`` if None; a second close does not wait.
        """
        closed_before, self._closing = self._closing, True
        self.stop(StopReason.STOPPING)
        try:
            if not await self.wait_idle(0.0 if closed_before else SETTLE_GRACE if grace is None else grace):
                log.warning("worker.left_running", extra={"worker_id": self.worker_id, "tasks": self.running()})
        finally:
            async with AsyncExitStack() as closing:
                # Each is closed, even if closing another one is cancelled.
                closing.callback(self._leave)
                for each in (self._heartbeat.retire, self._audit.close, self._progress.close, self._liveness.stop):
                    closing.push_async_callback(each)

    # ------------------------------------------------------------ claim

    async def claim(self, claim: Claim) -> Claimed:
        """Claim due records; hold them before the next ``await``. Registers again if the worker has lapsed."""
        with self._audit.claiming():
            claimed = await self.claim_failures.watched(self._backend.claim(claim))
        if claimed.uncertain:
            self._audit.look_soon()
        if not claimed.alive:
            await self._heartbeat.register_again(claim.worker_id)
        return claimed

    async def claim_one(self, record: QueuedTaskRecord, *, worker_id: str | None = None) -> QueuedTaskRecord:
        """Claim a record by its fence, for itself or for *worker_id*. Raises OwnershipLostError if it has changed."""
        if worker_id is None:
            await self.start()
        with self._audit.claiming():
            return await self._backend.claim_one(record.id, record.epoch, worker_id=worker_id or self.worker_id)

    def claiming(self) -> AbstractContextManager[None]:
        """Surround a write that claims records in another way, for example an insert of running records."""
        return self._audit.claiming()

    def hold(self, record: QueuedTaskRecord) -> None:
        """Hold a claimed record, so that the audit does not release it, until it is executed or dropped."""
        self._idle.clear()
        self._claimed.add((record.id, record.epoch))

    @property
    def delayed(self) -> int:
        """The number of records that need no slot, but cannot be passed on now because that cannot be stored."""
        return self._unknown.delayed

    def drop(self, record: QueuedTaskRecord) -> None:
        """Stop holding a record."""
        self._claimed.discard((record.id, record.epoch))
        self._note_idle()

    @property
    def held(self) -> frozenset[Fence]:
        """The fences of all held and running records."""
        return frozenset({*self._claimed, *self._attempts, *self._executions.values()})

    # ------------------------------------------------------------ run

    def runnable(self, records: Sequence[QueuedTaskRecord], *, limit: int) -> Sequence[QueuedTaskRecord]:
        """
        Return the claimed records to execute, and pass on those of tasks that attempts here did not find.

        *limit* is the number of records that the claim asked for.
        """
        return self._unknown.others(records, limit=limit)

    def execute(self, record: QueuedTaskRecord, execute: Execute, *, slots: Slots | None = None) -> Execution:
        """
        Hold a claimed record, and start an asyncio task in which its execution backend executes it.

        It frees its slot when the function has returned, before its outcome is stored, and again at the end. In
        between, it holds the slot while the outcome cannot be stored.
        The asyncio task returns None if the execution backend raised; then the record has failed.
        """
        # This is faster than asking for the running loop each time.
        loop = self._event_loop = self._event_loop or asyncio.get_running_loop()
        own: list[Execution] = []  # Asking for the current asyncio task is slow.
        execution = begin(loop, self._execute(record, execute, own))
        own.append(execution)
        self._executions[execution] = record.id, record.epoch
        if slots is not None:
            self._slots.take(execution, slots)
        if self._claimed:
            self._claimed.discard((record.id, record.epoch))
        self._idle.clear()
        return execution

    async def run(
        self, record: QueuedTaskRecord, *, worker_id: str | None = None, perform: Perform | None = None
    ) -> QueuedTaskRecord:
        """
        Run a record and return it as stored; claim it first if it is not claimed yet.

        *perform* runs its function outside of this process. *worker_id* is the owner that has claimed it, or claims it
        now; None for this presence. Raises OwnershipLostError if the record cannot be claimed, belongs to another
        owner, or already runs here.
        """
        if record.status is not TaskStatus.RUNNING:
            record = await self.claim_one(record, worker_id=worker_id)
        fence = record.id, record.epoch
        if record.worker_id != worker_id and record.worker_id != self.worker_id and fence not in self.held:  # noqa: PLR1714 -- the first comparison nearly always decides
            raise OwnershipLostError(*fence)
        attempt = Attempt(record, self._surroundings, perform)
        if self._attempts.setdefault(fence, attempt) is not attempt:
            raise OwnershipLostError(*fence)
        self._idle.clear()
        if self._closing:
            attempt.stop(StopReason.STOPPING)
        try:
            running = through_middleware(self._middleware, attempt, self._perform)
            kept = await (running if self._is_own(attempt) else attempt.apart(running))
            self._unknown.note(record, kept)
        except BaseException:
            self._audit.note_unrecorded(fence)
            raise
        finally:
            attempt.context.error = None  # Its traceback holds frames that hold the attempt.
            self._progress.discard(attempt)
            del self._attempts[fence]
            if not self._attempts:
                self._note_idle()
        if attempt.is_abandoned:
            raise asyncio.CancelledError
        return kept

    def stop(self, reason: StopReason) -> None:
        """Stop all running attempts for this reason."""
        for attempt in list(self._attempts.values()):
            attempt.stop(reason)

    def stop_one(self, fence: Fence, reason: StopReason) -> bool:
        """Stop one record; False if it does not run here."""
        attempt = self._attempts.get(fence)
        if attempt is not None:
            attempt.stop(reason)
        return attempt is not None

    def running(self) -> list[str]:
        """Return the task names of all running records."""
        return sorted(attempt.record.task_name for attempt in self._attempts.values())

    async def wait_idle(self, timeout: float) -> bool:
        """Wait until it holds no record; False after *timeout* seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    # ------------------------------------------------------------ inside

    async def _execute(
        self, record: QueuedTaskRecord, execute: Execute, own: Sequence[Execution]
    ) -> QueuedTaskRecord | None:
        try:
            await first_turn()
            try:
                kept = await execute(record)
            except Exception as error:  # noqa: BLE001 -- it is logged, and the record fails with it
                kept = None
                if not await self._settling.fail(record, error):
                    self._audit.note_unrecorded((record.id, record.epoch))
        except GeneratorExit:
            raise  # The event loop has ended without it.
        except BaseException:  # A cancellation, or SystemExit, for example.
            self._audit.look_soon()
            self._note_end(own[0])
            raise
        self._note_end(own[0])
        return kept

    def _note_end(self, execution: Execution) -> None:
        self._slots.end(execution)
        del self._executions[execution]
        self._note_idle()

    async def _perform(self, attempt: Attempt, error: BaseException | None) -> QueuedTaskRecord:
        """Run an attempt, or end it with *error*, and store its outcome."""
        after = await attempt.perform() if error is None else attempt.ended_by(error)
        hold = self._slots.hold if self._slots.free(attempt.body) else None
        try:
            return await self._settling.settle(attempt, after, delayed=hold)
        except asyncio.CancelledError:
            if attempt.is_abandoned:
                raise
            # The function has left a cancel scope open, which cancels this asyncio task again and again.
            return await to_the_end(self._settling.settle(attempt, after, delayed=hold))

    async def _complete_within(self, fence: Fence, connection: object, result: object) -> None:
        attempt = self._attempts.get(fence)
        if attempt is None:
            raise OwnershipLostError(*fence)
        self._progress.discard(attempt)  # A report would wait for the transaction, and then be refused.
        await self._settling.complete_within(connection, attempt, result)

    def _is_own(self, attempt: Attempt) -> bool:
        """Whether the asyncio task exists only for this attempt."""
        return self._executions.get(attempt.body) == (attempt.record.id, attempt.record.epoch)

    def _is_alone(self, attempt: Attempt) -> bool:
        """Whether the asyncio task exists only for this attempt, and the event loop does not end."""
        return self._is_own(attempt) and not self._liveness.is_ending

    def _leave(self) -> None:
        self._deadlines.close()
        if self._idle.is_set():
            for worker_id in [one for one, presence in self._directory.items() if presence is self]:
                del self._directory[worker_id]

    def _note_idle(self) -> None:
        if not self._attempts and not self._executions and not self._claimed:
            self._idle.set()

    def _stop_lapsed(self, dead: str, new: str) -> None:
        self._directory[new] = self
        for attempt in list(self._attempts.values()):
            if attempt.record.worker_id == dead:
                attempt.stop(StopReason.LOST)
