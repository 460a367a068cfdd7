"""
Looks at every record that its owner may have forgotten.

There is no leader: every step is a compare-and-set, so that all workers may do it at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from lq_core import lifecycle
from lq_core.clock import LONGEST_WAIT
from lq_core.event_log import event_log
from lq_core.execution import BaseExecutionBackend
from lq_core.heartbeat import Heartbeat
from lq_core.queue import RecordFilter
from lq_core.record import Place, QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.service import QueueService

log = event_log()

PAGE: Final = 100
NO_ID: Final = UUID(int=0)
SHORTEST_PAUSE: Final = 0.01
RELEASE_INTERVAL: Final = 1.0
"""Seconds between two looks for records that wait for others, when none has ended in this process."""

PRUNED_AT_ONCE: Final = 100_000
"""How many records of a status one round deletes at most."""

RETENTION_INTERVAL: Final = 60.0
"""Seconds between two rounds of deleting what has been kept long enough."""


class Maintenance:
    """
    Rescues, recovers, expires, cancels, releases, deletes, prunes and reconciles; one method each, to be repeated.

    *held* tells the records that this worker has in hand, by id and epoch.
    """

    def __init__(self, service: QueueService, *, heartbeat: Heartbeat, held: Callable[[], AbstractSet[Place]]) -> None:
        self._service = service
        self._queue = service.queue_backend
        self._heartbeat = heartbeat
        self._held = held
        self._missing: AbstractSet[Place] = frozenset()
        self._looked_at: tuple[datetime, float] | None = None
        self._ended = asyncio.Event()
        service.runner.on_end.append(self.nudge)

    async def rescue(self) -> float:
        """Give the records of dead workers back to the queue."""
        timeout = self._service.config.heartbeat_timeout
        failure = TaskFailure(type="WorkerLost", message=f"The worker was not heard of for {timeout:g} s.")

        def lost(record: QueuedTaskRecord) -> QueuedTaskRecord:
            return lifecycle.lose(record, failure=failure, at=self._queue.now())

        # After a blocked event loop this may come before the next beat, and would declare this very worker dead.
        await self._queue.beat(self._heartbeat.worker_id)
        if self._clock_has_leapt():
            # To this clock nobody has been heard of for long; whoever is alive says so within two intervals.
            log.warning("worker.clock_leapt")
            return 2 * self._service.config.heartbeat_interval
        await self._each("record.rescued", lambda: self._queue.orphans(timeout=timeout, limit=PAGE), lost)
        return min(timeout / 5, 5.0)

    def _clock_has_leapt(self) -> bool:
        """Whether the queue's clock has gone ahead of the time that has passed: it was set, or the machine slept."""
        clock, passed = self._queue.now(), asyncio.get_running_loop().time()
        before, self._looked_at = self._looked_at or (clock, passed), (clock, passed)
        leap = (clock - before[0]).total_seconds() - (passed - before[1])
        return leap > self._service.config.heartbeat_timeout / 2

    async def recover(self) -> float:
        """
        Give back the records that are this worker's and that it does not run.

        The answer to its claim was lost on the way, or an outcome could not be recorded. A record has to be missing
        on two looks, so that one whose claim is just coming back is left alone.
        """
        failure = TaskFailure(type="RecordMislaid", message="The worker owned the record and did not run it.")
        began = monotonic()
        held, missing = self._held(), dict[Place, QueuedTaskRecord]()
        async for page in self._queue.pages(RecordFilter(statuses=(TaskStatus.RUNNING,)), limit=PAGE):
            for record in page:
                if record.worker_id == self._heartbeat.worker_id and (record.id, record.epoch) not in held:
                    missing[record.id, record.epoch] = record
        for place in missing.keys() & self._missing:
            record = missing.pop(place)
            log.warning("record.mislaid", extra={"record_id": str(record.id), "epoch": record.epoch})
            await self._service.swap(record, lifecycle.lose(record, failure=failure, at=self._queue.now()))
        self._missing = frozenset(missing)
        # Where no index leads to what runs, this walks past all records: for a twentieth of the time at most.
        return max(self._service.config.heartbeat_timeout / 2, 20 * (monotonic() - began))

    async def expire(self) -> float:
        """End the pending records whose time to start is over."""
        await self._each(
            "record.expired",
            lambda: self._queue.overdue(limit=PAGE),
            lambda record: lifecycle.expire(record, at=self._queue.now()),
        )
        return 1.0

    async def cancel(self) -> float:
        """End the records that went back to the queue while they were asked to stop."""
        waiting = [record for record in await self._queue.cancel_requests() if record.status is TaskStatus.PENDING]
        for record in waiting:
            await self._service.swap(record, lifecycle.cancel(record, at=self._queue.now()))
        return 1.0

    async def release(self) -> float:
        """Let the records go whose predecessors have all ended, as soon as they have."""
        began = monotonic()
        self._ended.clear()
        if await self.let_go() == PAGE:
            return 0
        # Where many wait, each look takes its time: all looks together take a tenth of it at most.
        await asyncio.sleep(max(SHORTEST_PAUSE, 10 * (monotonic() - began)))
        try:
            async with asyncio.timeout(RELEASE_INTERVAL):
                await self._ended.wait()
        except TimeoutError:
            pass
        return 0

    async def let_go(self) -> int:
        """Let at most a page of records go whose predecessors have all ended, and say how many."""
        freed = await self._queue.freed(limit=PAGE)
        before = {one for record in freed.records if record.after for one in record.after.ids}
        completed = {one.id for one in await self._queue.get_many(list(before)) if one.status is TaskStatus.COMPLETED}
        for record in freed.records:
            incomplete = [one for one in (record.after.ids if record.after else ()) if one not in completed]
            after = lifecycle.unblock(record, incomplete=incomplete, at=self._queue.now())
            await self._service.swap(record, after)
        self._service.runner.others_wait = freed.others_wait
        return len(freed.records)

    def nudge(self) -> None:
        """Look at once whether records may be let go: one that others may wait for has ended."""
        self._ended.set()

    async def delete(self) -> float:
        """Delete the ended records that have been kept long enough, in small batches."""
        for status, seconds in self._service.config.retention.items():
            if seconds > LONGEST_WAIT:
                continue  # For ever.
            before = self._queue.now() - timedelta(seconds=seconds)
            deleted = PAGE
            while deleted == PAGE:
                deleted = await self._queue.delete_ended(status=status, before=before, limit=PAGE)
        return RETENTION_INTERVAL

    async def prune(self) -> float:
        """Delete the oldest ended records of which there are too many, in small batches."""
        began = monotonic()
        statistics = await self._queue.statistics()
        for status, most in self._service.config.retention_count.items():
            if statistics.total(status) > most:
                await self._prune(RecordFilter(statuses=(status,)), most)
        # Counting a large table takes its time: all counts together take a hundredth of it at most.
        return max(RETENTION_INTERVAL, 100 * (monotonic() - began))

    async def _prune(self, condition: RecordFilter, most: int) -> None:
        """Name the oldest first, and delete them then: whoever prunes at the same time names the same."""
        first = await self._queue.find(condition, limit=1, after=NO_ID)
        surplus = max(0, min(await self._queue.count(condition) - most, PRUNED_AT_ONCE))
        oldest: list[UUID] = []
        async for page in self._queue.pages(condition, limit=PAGE):
            oldest += [record.id for record in page[: surplus - len(oldest)]]
            if len(oldest) == surplus:
                break
        if not await self._queue.get_many([record.id for record in first]):
            return  # Another is at it: some of what was named is younger than what it has deleted meanwhile.
        for start in range(0, len(oldest), PAGE):
            await self._queue.delete_many(oldest[start : start + PAGE])

    async def reconcile(self, name: str, backend: BaseExecutionBackend) -> float:
        """Compare every record that is with an external executor to what the executor says of it."""
        condition = RecordFilter(statuses=(TaskStatus.DISPATCHED, TaskStatus.RUNNING), execution_backends=(name,))
        async for page in self._queue.pages(condition, limit=PAGE):
            await backend.reconcile_many(self._service, page)
        return backend.reconcile_interval

    async def _each(
        self,
        event: str,
        read: Callable[[], Awaitable[Sequence[QueuedTaskRecord]]],
        step: Callable[[QueuedTaskRecord], QueuedTaskRecord],
    ) -> None:
        while records := await read():
            kept = [str(record.id) for record in records if await self._service.swap(record, step(record))]
            if kept:
                log.warning(event, extra={"records": len(kept), "record_ids": kept})
            if len(records) < PAGE or not kept:
                return
