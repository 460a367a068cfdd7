"""
Maintenance that every worker repeats: rescue, unblock, expire, prune, reconcile.

Every step is a compare-and-swap, so all workers can sweep at the same time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from math import inf
from time import monotonic
from typing import Final
from uuid import UUID

from lq_core.execution import ExternalExecutionBackend
from lq_core.foundation.clock import LONGEST_WAIT
from lq_core.foundation.duration import seconds
from lq_core.foundation.event_log import event_log
from lq_core.presence import process_lock
from lq_core.queue import RecordFilter, Successors
from lq_core.records import lifecycle
from lq_core.records.record import QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.service import QueueService

log = event_log()

PAGE: Final = 100
NO_ID: Final = UUID(int=0)
SHORTEST_PAUSE: Final = 0.01
UNBLOCK_INTERVAL: Final = 1.0
"""Seconds between two looks for records to unblock, if no record ends in this process."""

PRUNED_AT_ONCE: Final = 100_000
"""The largest number of records of one status that one round deletes."""

RETENTION_INTERVAL: Final = 60.0
"""Seconds between two rounds of deletion."""


class Sweeps:
    """
    One method for each sweep; it returns the seconds until the next round.

    *began* is when the worker began to register, by the clock of the event loop.
    """

    def __init__(self, service: QueueService, *, began: float = inf) -> None:
        self._service = service
        self._queue = service.queue_backend
        self._looked_at: tuple[datetime, float] | None = None
        self._whole_look_at = 0.0
        """When to look at all blocked records again, by the monotonic clock."""
        self._rescue_due = began
        self._rescue_after = 0.0
        """Before this time, other workers may look dead that are alive."""

    async def rescue(self) -> float:
        """
        Rescue the records of dead workers. Beat first, because the event loop may be late.

        After a time in which this worker could not beat either, it waits until every live worker has beaten again.
        """
        timeout = self._service.config.heartbeat_timeout
        lost = f"The worker has died, or has sent no heartbeat for {timeout:g} s."
        failure = TaskFailure(type="WorkerLost", message=lost)
        now = asyncio.get_running_loop().time()
        if self._clock_has_leapt() or now - self._rescue_due > timeout / 2:
            # The clock was set, or the database was locked or away: live workers beat again within two intervals.
            log.warning("worker.rescue_delayed")
            self._rescue_after = now + 2 * self._service.config.heartbeat_interval
        if now < self._rescue_after:
            return self._next_rescue(self._rescue_after - now)
        await self._each(
            "record.rescued",
            lambda: self._queue.orphans(timeout=timeout, limit=PAGE),
            lambda record: lifecycle.lose(record, failure=failure, at=self._queue.now()),
        )
        return self._next_rescue(min(timeout / 5, 5.0))

    async def retire_dead(self) -> int:
        """Retire the workers of this host whose processes have died, and return their number."""
        if not self._queue.shared or not process_lock.may_have_dead():
            return 0
        dead = [worker.id for worker in await self._queue.workers() if process_lock.has_died(worker.id)]
        for worker_id in dead:
            await self._queue.retire(worker_id)
            process_lock.forget(worker_id)
        if dead:
            log.warning("worker.process_died", extra={"worker_ids": dead})
        return len(dead)

    async def expire(self) -> float:
        """Expire the pending records that were not started in time."""
        await self._each(
            "record.expired",
            lambda: self._queue.overdue(limit=PAGE),
            lambda record: lifecycle.expire(record, at=self._queue.now()),
        )
        return 1.0

    async def cancel(self) -> float:
        """Cancel the records that were released after a request to cancel them."""
        waiting = [record for record in await self._queue.cancel_requests() if record.status is TaskStatus.PENDING]
        for record in waiting:
            await self._service.swap(record, lifecycle.cancel(record, at=self._queue.now()))
        return 1.0

    async def unblock(self) -> float:
        """Unblock the records whose predecessors have all ended, then wait until another record ends."""
        began, number = monotonic(), self._service.ends.number
        if isinstance(self._queue, Successors):
            await self._unblock_successors(self._queue)
        else:
            self._service.ends.take()  # Each look is at all blocked records.
        if isinstance(self._queue, Successors) and began < self._whole_look_at:
            # A look at the many other predecessors of a record may be slow.
            await asyncio.sleep(monotonic() - began)
        else:
            if await self.unblock_page() == PAGE:
                return 0
            # Looks at many blocked records are slow: limit them to a tenth of the time.
            pause = max(SHORTEST_PAUSE, 10 * (monotonic() - began))
            self._whole_look_at = monotonic() + max(UNBLOCK_INTERVAL, pause)
            if not isinstance(self._queue, Successors):
                await asyncio.sleep(pause)
        await self._service.ends.wait(number, timeout=UNBLOCK_INTERVAL)
        return 0

    async def unblock_page(self) -> int:
        """Unblock a page of the records whose predecessors have all ended, and return their number."""
        unblocked = await self._queue.unblocked(limit=PAGE)
        await self._unblock(unblocked.records)
        self._service.ends.others_wait = unblocked.others_wait
        return len(unblocked.records)

    async def _unblock_successors(self, queue: Successors) -> None:
        """Unblock the records that come after those that have ended in this process."""
        ended = self._service.ends.take()
        try:
            for start in range(0, len(ended), PAGE):
                page = ended[start : start + PAGE]
                while records := await queue.unblocked_by(page, limit=PAGE):
                    if not any(await self._unblock(records)):
                        break
        except BaseException:
            self._service.ends.take_back(ended)  # A look at a page of the blocked records may not find what follows.
            raise

    async def _unblock(self, records: Sequence[QueuedTaskRecord]) -> Sequence[bool]:
        before = {one for record in records if record.after for one in record.after.ids}
        completed = {one.id for one in await self._queue.get_many(list(before)) if one.status is TaskStatus.COMPLETED}
        swaps: list[Awaitable[bool]] = []
        for record in records:
            incomplete = [one for one in (record.after.ids if record.after else ()) if one not in completed]
            after = lifecycle.unblock(record, incomplete=incomplete, at=self._queue.now())
            swaps.append(self._service.swap(record, after))
        return await asyncio.gather(*swaps)

    async def delete(self) -> float:
        """Delete the ended records whose retention is over, in small batches."""
        for status, kept in self._service.config.retention.items():
            if seconds(kept) > LONGEST_WAIT:
                continue  # Kept for ever.
            before = self._queue.now() - timedelta(seconds=seconds(kept))
            deleted = PAGE
            while deleted == PAGE:
                deleted = await self._queue.delete_ended(status=status, before=before, limit=PAGE)
        return RETENTION_INTERVAL

    async def prune(self) -> float:
        """Delete the oldest ended records above ``retention_count``, in small batches."""
        began = monotonic()
        statistics = await self._queue.statistics()
        for status, most in self._service.config.retention_count.items():
            if statistics.total(status) > most:
                await self._prune(RecordFilter(statuses=(status,)), most)
        # Counting a large table is slow: limit it to a hundredth of the time.
        return max(RETENTION_INTERVAL, 100 * (monotonic() - began))

    async def reconcile(self, name: str, backend: ExternalExecutionBackend) -> float:
        """Compare every dispatched record with its external execution."""
        statuses = (TaskStatus.DISPATCHED, TaskStatus.RUNNING)
        condition = RecordFilter(statuses=statuses, execution_backends=(name,), external=True)
        async for page in self._queue.pages(condition, limit=PAGE):
            await backend.reconcile_many(self._service, page)
        return backend.reconcile_interval

    def _clock_has_leapt(self) -> bool:
        """Whether the clock of the queue jumped ahead, because it was set or the machine slept."""
        clock, passed = self._queue.now(), asyncio.get_running_loop().time()
        before, self._looked_at = self._looked_at or (clock, passed), (clock, passed)
        leap = (clock - before[0]).total_seconds() - (passed - before[1])
        return leap > self._service.config.heartbeat_timeout / 2

    def _next_rescue(self, pause: float) -> float:
        self._rescue_due = asyncio.get_running_loop().time() + pause
        return pause

    async def _prune(self, condition: RecordFilter, most: int) -> None:
        """List the oldest records first, and then delete them, so that two workers list the same ones."""
        first = await self._queue.find(condition, limit=1, after=NO_ID)
        surplus = max(0, min(await self._queue.count(condition) - most, PRUNED_AT_ONCE))
        oldest: list[UUID] = []
        async for page in self._queue.pages(condition, limit=PAGE):
            oldest += [record.id for record in page[: surplus - len(oldest)]]
            if len(oldest) == surplus:
                break
        if not await self._queue.get_many([record.id for record in first]):
            return  # Another worker prunes, so this list contains records that should stay.
        for start in range(0, len(oldest), PAGE):
            await self._queue.delete_many(oldest[start : start + PAGE])

    async def _each(
        self,
        event: str,
        read: Callable[[], Awaitable[Sequence[QueuedTaskRecord]]],
        step: Callable[[QueuedTaskRecord], QueuedTaskRecord],
    ) -> None:
        while records := await read():
            answers = await asyncio.gather(*(self._service.swap(record, step(record)) for record in records))
            kept = [str(record.id) for record, is_kept in zip(records, answers, strict=True) if is_kept]
            if kept:
                log.warning(event, extra={"records": len(kept), "record_ids": kept})
            if len(records) < PAGE or not kept:
                return
