"""Running claimed records in this process, and recording what came of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from lq_core import lifecycle
from lq_core.attempt import Attempt, StopReason, Surroundings, failure_of
from lq_core.backoff import retry_delay
from lq_core.completion import Completions
from lq_core.deadlines import Deadlines
from lq_core.errors import OwnershipLostError, StorageError
from lq_core.event_log import event_log
from lq_core.heartbeat import Heartbeat
from lq_core.identity import new_worker_id
from lq_core.injector import Injector
from lq_core.middleware import Middleware
from lq_core.queue import BaseQueueBackend, Swap, WorkerInfo
from lq_core.record import OWNED, Place, Progress, QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.service.doubts import Doubts
from lq_core.service.outcome_log import tell_outcome
from lq_core.service.passage import pass_through
from lq_core.task import find_task

log = event_log()

PROGRESS_INTERVAL: Final = 0.25
"""Seconds between two writes of progress: reports in between are merged."""

SETTLE_GRACE: Final = 5.0
"""Seconds that whoever stops waits for interrupted records to be given back."""

SETTLE_PAUSES: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries to record an outcome while the database is away; the last one repeats."""


class Host(Protocol):
    """Whoever has asyncio tasks in which records run, such as a pump."""

    def is_for_one(self, execution: asyncio.Task[object], /) -> bool:
        """Whether an asyncio task was made to run one record: nobody cancels it but that record's own function."""
        ...

    def holds(self, place: Place, /) -> bool:
        """Whether it has this record, by id and epoch, to run."""
        ...

    def free(self, execution: asyncio.Task[object], place: Place, /) -> None:
        """Take note that the function in an asyncio task has returned; its record is still to be settled."""
        ...


class Runner:
    """Runs records in this process: each attempt under a handle, each outcome swapped in by its epoch."""

    def __init__(
        self,
        backend: BaseQueueBackend,
        completions: Completions,
        *,
        middleware: Sequence[Middleware],
        injector: Injector,
    ) -> None:
        self._backend = backend
        self._deadlines = Deadlines()
        self._surroundings = Surroundings(
            now=backend.now,
            max_result_bytes=backend.config.max_payload_bytes,
            deadlines=self._deadlines,
            injector=injector,
            is_alone=self._is_alone,
            report=self._report,
            read=backend.get_many,
            complete=self._complete_in,
        )
        self._middleware = middleware
        self._completions = completions
        self._progress: set[Attempt] = set()
        self._reporter: asyncio.Task[None] | None = None
        self._presence: Heartbeat | None = None
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._presence_lock = asyncio.Lock()
        self.attempts: dict[Place, Attempt] = {}
        """What runs here now, by record id and epoch."""

        self.doubts = Doubts(backend, held=self.attempts.keys, swap=self.swap)
        self.hosts: list[Host] = []
        """Who has asyncio tasks in which records run."""

        self.others_wait = False
        """Whether there may be records that wait for others to end; :attr:`on_end` is called only then."""

        self.on_end: list[Callable[[], None]] = []
        """Called when a record has ended that others may wait for."""

    async def close(self) -> None:
        """
        Interrupt what still runs, and stop being a worker.

        A task that does not let itself be cancelled is waited for ``SETTLE_GRACE`` seconds, and then left behind.
        """
        for attempt in list(self.attempts.values()):
            attempt.stop(StopReason.STOPPING)
        self._closing = True
        try:
            async with asyncio.timeout(SETTLE_GRACE):
                await self._idle.wait()
        except TimeoutError:
            left = sorted({attempt.record.task_name for attempt in self.attempts.values()})
            log.warning("service.left_running", extra={"tasks": left, "grace": SETTLE_GRACE})
        if self._reporter is not None:
            self._reporter.cancel()
            await asyncio.gather(self._reporter, return_exceptions=True)
        self._deadlines.close()
        await self.doubts.close()
        if self._presence is not None:
            await self._presence.stop()
            self._presence = None

    async def worker_id(self) -> str:
        """Name this process as a worker of its own, for records that no worker has claimed; alive from now on."""
        async with self._presence_lock:
            if self._presence is None:
                now = self._backend.now()
                info = WorkerInfo(id=new_worker_id(), started_at=now, seen_at=now)
                presence = Heartbeat(self._backend, info, self.attempts)
                await presence.start()
                self._presence = presence
        return self._presence.worker_id

    async def run(self, record: QueuedTaskRecord, *, worker_id: str | None = None) -> QueuedTaskRecord:
        """
        Run a record, claiming it first when nobody has, and return what has become of it.

        *worker_id* is who has claimed it, or is to; None for this process. Raises OwnershipLostError when the record
        cannot be claimed, for it is gone or has moved on, when it is somebody else's, and when it runs here already.
        """
        if record.status is not TaskStatus.RUNNING:
            record = await self._claim(record, worker_id=worker_id or await self.worker_id())
        elif not self._is_ours(record, worker_id):
            raise OwnershipLostError(record.id, record.epoch)
        place = (record.id, record.epoch)
        attempt = Attempt(record, self._surroundings)
        if self.attempts.setdefault(place, attempt) is not attempt:
            raise OwnershipLostError(*place)
        self._idle.clear()
        try:
            kept = await pass_through(self._middleware, attempt, self._perform)
            tell_outcome(record, kept)
        finally:
            attempt.context.error = None  # Its traceback holds frames that hold the attempt.
            self._progress.discard(attempt)
            del self.attempts[place]
            if not self.attempts:
                self._idle.set()
        if attempt.is_abandoned:
            raise asyncio.CancelledError
        return kept

    def _is_ours(self, record: QueuedTaskRecord, worker_id: str | None) -> bool:
        if record.worker_id in {worker_id, self._presence and self._presence.worker_id}:
            return True
        return any(host.holds((record.id, record.epoch)) for host in self.hosts)

    async def claimed(self, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Claim a record that waits, to be run here at once; None when a worker was quicker."""
        if record.status is not TaskStatus.PENDING:
            return record
        try:
            return await self._backend.claim_one(record.id, record.epoch, worker_id=await self.worker_id())
        except OwnershipLostError:
            return None

    def doubt(self, records: Iterable[QueuedTaskRecord]) -> None:
        """Let those of these records that were to run here at once be given back, if they have been stored."""
        for record in records:
            if record.worker_id is not None:
                self.doubts.look_after([record.id], worker_id=record.worker_id)

    async def _claim(self, record: QueuedTaskRecord, *, worker_id: str) -> QueuedTaskRecord:
        try:
            return await self._backend.claim_one(record.id, record.epoch, worker_id=worker_id)
        except OwnershipLostError:
            raise
        except BaseException:
            self.doubts.look_after([record.id], worker_id=worker_id)
            raise

    async def swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> bool:
        """Keep *new* if *old* is still what is stored, and tell those who wait for it."""
        return self._announced(new, await self._swap(old, new))

    def _swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> Awaitable[Sequence[bool]]:
        swap = self._backend.swap if old.status in OWNED else self._backend.swap_waiting
        return swap([Swap(record=new, epoch=old.epoch)])

    def _announced(self, new: QueuedTaskRecord, answers: Sequence[bool]) -> bool:
        (is_kept,) = answers
        if is_kept:
            self._completions.announce(new)
            if self.others_wait and new.has_ended:
                self.nudge()
        return is_kept

    def nudge(self) -> None:
        """Have it looked at whether records may be let go."""
        for nudge in self.on_end:
            nudge()

    async def _perform(self, attempt: Attempt, error: BaseException | None) -> QueuedTaskRecord:
        """Run an attempt, or end it with *error*, and record what came of it."""
        after = await attempt.perform() if error is None else attempt.ended_by(error)
        for host in self.hosts:
            host.free(attempt.body, (attempt.record.id, attempt.record.epoch))
        if attempt.stop_reason is StopReason.LOST:
            return await self._lost(attempt.record)
        if attempt.completed is not None and after.status is TaskStatus.COMPLETED:
            after = self._not_committed(attempt.record)
        return await self._settle(attempt, after)

    async def _settle(self, attempt: Attempt, new: QueuedTaskRecord) -> QueuedTaskRecord:
        old, tries, refused = attempt.record, 0, False
        while True:
            try:
                is_kept = self._announced(new, await self._swap(old, new))
                return new if is_kept else await self._lost(old, attempt)
            except StorageError as error:
                if self._closing:
                    raise
                # The outcome is in hand; it waits for the database. If the lease runs out meanwhile, the epoch tells.
                log.warning("record.settle_delayed", extra={"record_id": str(old.id), "error": str(error)})
                await asyncio.sleep(SETTLE_PAUSES[min(tries, len(SETTLE_PAUSES) - 1)])
                tries += 1
            except Exception as error:
                if refused:
                    raise
                refused = True
                log.exception("record.outcome_refused", extra={"record_id": str(old.id)})
                new = lifecycle.retry_or_fail(old, failure=failure_of(error), delay=None, at=self._backend.now())

    def _is_alone(self, attempt: Attempt) -> bool:
        """Whether an attempt is the only one in an asyncio task that was made for it; a call within a task is not."""
        others = (each.body for each in self.attempts.values() if each is not attempt)
        return any(host.is_for_one(attempt.body) for host in self.hosts) and attempt.body not in others

    async def _lost(self, record: QueuedTaskRecord, attempt: Attempt | None = None) -> QueuedTaskRecord:
        if attempt is not None and (committed := attempt.completed) is not None:
            stored = await self._backend.get(record.id)
            if stored is not None and stored.epoch == committed.epoch and stored.status is committed.status:
                self._completions.announce(stored)
                if isinstance(error := attempt.context.error, Exception):
                    facts = {"task_name": record.task_name, "record_id": str(record.id)}
                    log.warning("task.failed_after_commit", extra=facts, exc_info=error)
                return stored
        return await self._backend.get(record.id) or record

    async def _complete_in(self, place: Place, connection: object, result: object) -> None:
        """Record an end in the application's transaction; what came of that is seen when the task has returned."""
        attempt = self.attempts.get(place)
        if attempt is None:
            raise OwnershipLostError(*place)
        encoded = attempt.encoded(find_task(attempt.record.task_name), result)
        completed = lifecycle.complete(attempt.record, result=encoded, at=self._backend.now())
        self._progress.discard(attempt)  # A report would wait for the transaction, and be refused after it.
        if not await self._backend.swap_within(connection, Swap(record=completed, epoch=attempt.record.epoch)):
            raise OwnershipLostError(*place)
        attempt.completed = completed

    def _not_committed(self, record: QueuedTaskRecord) -> QueuedTaskRecord:
        """Say what comes of a record whose task returned: it stands only if its own transaction was not committed."""
        failure = TaskFailure(
            type="NotCommitted", message="The task returned, but the transaction of its complete_in() was rolled back."
        )
        return lifecycle.retry_or_fail(record, failure=failure, delay=retry_delay(record), at=self._backend.now())

    async def _report(self, place: Place, said: Progress | str) -> None:
        attempt = self.attempts.get(place)
        if attempt is None:
            return  # A thread that nobody waits for any more.
        if isinstance(said, Progress):
            attempt.record = replace(attempt.record, progress=said)
        else:
            attempt.record = lifecycle.note(attempt.record, message=said, at=self._backend.now())
        if attempt.completed is not None:
            return  # It would wait for the transaction, and be refused after it; it goes with the outcome, if not.
        self._progress.add(attempt)
        if self._reporter is None:
            self._reporter = asyncio.create_task(self._report_all())

    async def _report_all(self) -> None:
        try:
            while self._progress:
                reporting = list(self._progress)
                self._progress.clear()
                swaps = [Swap(record=attempt.record, epoch=attempt.record.epoch) for attempt in reporting]
                try:
                    kept = await self._backend.swap(swaps)
                except Exception:
                    log.warning("record.progress_failed", exc_info=True)
                else:
                    for attempt, mine in zip(reporting, kept, strict=True):
                        if not mine and attempt.completed is None:
                            attempt.stop(StopReason.LOST)
                await asyncio.sleep(PROGRESS_INTERVAL)
        finally:
            self._reporter = None
