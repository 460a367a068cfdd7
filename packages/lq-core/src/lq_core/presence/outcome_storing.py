"""Stores the steps of records, above all the outcomes of attempts, and announces them to waiters."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from uuid import UUID

from lq_core.attempts.attempt import Attempt, StopReason
from lq_core.attempts.failure import failure_of
from lq_core.foundation.errors import OwnershipLostError, StorageError
from lq_core.foundation.event_log import event_log
from lq_core.presence.rollup_recorder import RollupRecorder
from lq_core.queue import BaseQueueBackend, Swap
from lq_core.queue.wake_ups import WakeUps
from lq_core.records import lifecycle
from lq_core.records.backoff import backoff_delay, retry_delay
from lq_core.records.record import OWNED, QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.tasks.known_tasks import find_task

log = event_log()

PAUSES: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to store an outcome while the database is unavailable; the last one repeats."""

MOST_ENDED: Final = 100_000
"""How many ends are kept for the next look at what follows; a process without a worker never looks."""

NOT_COMMITTED: Final = TaskFailure(
    type="NotCommitted", message="The task returned, but the transaction of its complete_in() was rolled back."
)


class Ends(WakeUps):
    """Rings when a possible predecessor of other records has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.others_wait = False
        """Whether blocked records may exist; it rings only then."""

        self._ended = deque[UUID](maxlen=MOST_ENDED)

    def tell(self, record: QueuedTaskRecord) -> None:
        """Ring if a record has ended that others may wait for."""
        if self.others_wait and record.has_ended:
            self._ended.append(record.id)
            self.ring()

    def take(self) -> list[UUID]:
        """Return the ids of the records that have ended since the last call."""
        ended = list(self._ended)
        self._ended.clear()
        return ended

    def take_back(self, ended: Sequence[UUID]) -> None:
        """Return these ids with the next call again."""
        self._ended.extend(ended)


class Settling:
    """Writes to one queue backend; *announce* is called with every stored record."""

    def __init__(
        self,
        backend: BaseQueueBackend,
        *,
        announce: Callable[[QueuedTaskRecord], None],
        ends: Ends,
        rollups: RollupRecorder,
    ) -> None:
        self._backend = backend
        self._rollups = rollups
        self._announce = announce
        self._ends = ends
        self._closing = False

    def close(self) -> None:
        """Do not retry to store outcomes from now on."""
        self._closing = True

    async def swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> bool:
        """Store *new* if *old* is still the stored record, and announce it."""
        return self._announced(new, await self._swap(old, new))

    async def settle(
        self, attempt: Attempt, new: QueuedTaskRecord, *, delayed: Callable[[asyncio.Task[Any]], None] | None = None
    ) -> QueuedTaskRecord:
        """
        Store the outcome of an attempt and return the stored record; retry while the database is unavailable.

        *delayed* is called with the asyncio task of the attempt before each retry.
        """
        old, tries, refused = attempt.record, 0, False
        if attempt.stop_reason is StopReason.LOST:
            return await self._stored(old)
        if attempt.completed is not None and new.status is TaskStatus.COMPLETED:
            # The record is complete only if the transaction of the task was committed.
            new = lifecycle.retry_or_fail(old, failure=NOT_COMMITTED, delay=retry_delay(old), at=self._backend.now())
        while True:
            try:
                if self._announced(new, await self._swap(old, new)):
                    return new
                return await self._committed(attempt) or await self._stored(old)
            except StorageError as error:
                if self._closing:
                    raise
                # If the worker lapses before the next try, the epoch shows it.
                if delayed is not None:
                    delayed(attempt.body)
                log.warning("record.settle_delayed", extra={"record_id": str(old.id), "error": str(error)})
                await asyncio.sleep(pause_after(tries))
                tries += 1
            except Exception as error:
                if refused:
                    raise
                refused = True
                log.exception("record.outcome_refused", extra={"record_id": str(old.id)})
                new = lifecycle.retry_or_fail(old, failure=failure_of(error), delay=None, at=self._backend.now())

    async def complete_within(self, connection: object, attempt: Attempt, result: object) -> None:
        """Complete a record in a transaction of the application; :meth:`settle` reads whether it was committed."""
        record = attempt.record
        encoded = attempt.encoded(find_task(record.task_name), result)
        completed = lifecycle.complete(record, result=encoded, at=self._backend.now())
        if not await self._backend.transactions.swap_within(connection, Swap(record=completed, epoch=record.epoch)):
            raise OwnershipLostError(record.id, record.epoch)
        attempt.completed = completed

    async def fail(self, record: QueuedTaskRecord, error: Exception) -> bool:
        """Store the error of an execution backend, unless the record has changed; False if it cannot be stored."""
        facts = {"record_id": str(record.id), "task_name": record.task_name}
        log.error("execution.failed", extra=facts, exc_info=error)
        failure, at = failure_of(error), self._backend.now()
        try:
            if record.status is TaskStatus.DISPATCHED:
                after = lifecycle.lose(record, failure=failure, delay=backoff_delay(None, record.losses + 1), at=at)
            else:
                after = lifecycle.retry_or_fail(record, failure=failure, delay=retry_delay(record), at=at)
            await self.swap(record, after)
        except Exception:
            log.warning("execution.failure_not_recorded", extra={"record_id": str(record.id)}, exc_info=True)
            return False
        return True

    def _swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> Awaitable[Sequence[bool]]:
        swap = self._backend.swap if old.status in OWNED else self._backend.swap_waiting
        return swap([Swap(record=new, epoch=old.epoch)])

    def _announced(self, new: QueuedTaskRecord, answers: Sequence[bool]) -> bool:
        (is_kept,) = answers
        if is_kept:
            self._announce(new)
            self._ends.tell(new)
            self._rollups.note(new)
        return is_kept

    async def _stored(self, record: QueuedTaskRecord) -> QueuedTaskRecord:
        return await self._backend.get(record.id) or record

    async def _committed(self, attempt: Attempt) -> QueuedTaskRecord | None:
        """Return the record if the task completed it in a committed transaction."""
        record, completed = attempt.record, attempt.completed
        stored = await self._backend.get(record.id) if completed is not None else None
        if stored is None or completed is None:
            return None
        if stored.epoch != completed.epoch or stored.status is not completed.status:
            return None
        self._announce(stored)
        self._rollups.note(stored)
        if isinstance(error := attempt.context.error, Exception):
            facts = {"task_name": record.task_name, "record_id": str(record.id)}
            log.warning("task.failed_after_commit", extra=facts, exc_info=error)
        return stored


def pause_after(tries: int) -> float:
    """Return the seconds to wait before the next try to store something, after *tries* that were repeated."""
    return PAUSES[min(tries, len(PAUSES) - 1)]
