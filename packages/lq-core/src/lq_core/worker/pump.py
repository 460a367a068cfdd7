"""Takes as many records as there is room for, and hands each to its execution backend."""

import asyncio
import random
from collections.abc import Mapping
from typing import Final

from lq_core import lifecycle
from lq_core.attempt import failure_of
from lq_core.backoff import backoff_delay, retry_delay
from lq_core.event_log import event_log
from lq_core.execution import BaseExecutionBackend
from lq_core.heartbeat import Heartbeat
from lq_core.queue import Claim
from lq_core.record import Place, QueuedTaskRecord, TaskStatus
from lq_core.service import QueueService

log = event_log()

FIRST_PAUSE: Final = 0.05
"""Seconds to the first look after a look that found nothing; the pause doubles up to the poll interval."""

SHORTEST_PAUSE: Final = 0.001
"""Seconds to the next look when something is due and was not claimed; doubles as long as that goes on."""


class Pump:
    """
    Claims records for some execution backends, and starts them.

    It asks for exactly as many as it has free slots, so that nothing waits in a worker that another could run.
    """

    def __init__(
        self,
        service: QueueService,
        backends: Mapping[str, BaseExecutionBackend],
        *,
        heartbeat: Heartbeat,
        queues: tuple[str, ...] | None,
    ) -> None:
        self._service = service
        self._queue = service.queue_backend
        self._backends = backends
        self._heartbeat = heartbeat
        self._queues = queues
        self.busy: set[asyncio.Task[object]] = set()
        """The executions that take up slots."""

        self._body: asyncio.Task[object] | None = None
        self._freed = asyncio.Event()
        self._pause = FIRST_PAUSE
        self._shortest = SHORTEST_PAUSE
        self.running: dict[asyncio.Task[object], Place] = {}
        """The executions that have not come back, also those that only wait to be settled, and their records."""

    async def free_slots(self) -> int:
        """How many records may be started now."""
        return max(0, self._service.config.concurrency - len(self.busy))

    def claim(self, limit: int) -> Claim:
        """Say what this pump would take."""
        return Claim(
            worker_id=self._heartbeat.worker_id,
            limit=limit,
            execution_backends=tuple(self._backends),
            queues=self._queues,
        )

    def free(self, execution: asyncio.Task[object], place: Place) -> None:
        """Give back the slot of an execution whose record, by id and epoch, is over; another may run inline in it."""
        if self.running.get(execution) == place:
            self.busy.discard(execution)
            self._freed.set()

    def is_for_one(self, execution: asyncio.Task[object]) -> bool:
        """Whether an asyncio task runs one record for this pump, which is not being cancelled itself."""
        leaving = self._body is None or self._body.done() or self._body.cancelling() > 0
        return execution in self.running and not leaving

    def holds(self, place: Place) -> bool:
        """Whether it has claimed this record, by id and epoch, and not seen the end of it."""
        return place in self.running.values()

    def nudge(self) -> None:
        """Do not wait for a slot any longer."""
        self._freed.set()

    async def step(self) -> float:
        """Claim once, start what was claimed, and wait until it makes sense to claim again."""
        self._body, loop = asyncio.current_task(), asyncio.get_running_loop()
        changes = self._queue.changes
        self._freed.clear()
        slots = await self.free_slots()
        if not slots:
            await self._wait_for_slot()
            return 0
        claim = self.claim(slots)
        claimed = await self._queue.claim(claim)
        if not claimed.alive:
            await self._heartbeat.revive(claim.worker_id)
            return 0
        for record in claimed.records:
            execution: asyncio.Task[object] = loop.create_task(self._execute(record))
            self.running[execution] = record.id, record.epoch
            self.busy.add(execution)
        if not claimed.records:
            await self._wait_for_work(changes, claim)
        else:
            self._pause, self._shortest = FIRST_PAUSE, SHORTEST_PAUSE
            await asyncio.sleep(0)
        return 0

    async def _wait_for_slot(self) -> None:
        try:
            async with asyncio.timeout(self._service.config.poll_interval):
                await self._freed.wait()
        except TimeoutError:
            pass

    async def _wait_for_work(self, changes: int, claim: Claim) -> None:
        timeout = self._pause
        self._pause = min(self._pause * 2, self._service.config.poll_interval)
        due = await self._queue.next_due(claim)
        if due is not None:
            # What is due and cannot be claimed is in somebody's transaction, which may take its time.
            ahead = (due - self._queue.now()).total_seconds()
            timeout = min(timeout, max(self._shortest, ahead))
            self._shortest = SHORTEST_PAUSE if ahead > 0 else min(self._shortest * 2, FIRST_PAUSE)
        else:
            timeout *= random.uniform(0.75, 1)  # noqa: S311 -- so that idle workers do not look all at once
        await self._queue.wait_for_work(changes, timeout=timeout)

    async def _execute(self, record: QueuedTaskRecord) -> None:
        try:
            backend = self._backends[record.execution_backend]
            await backend.execute(self._service, record, worker_id=record.worker_id)
        except Exception as error:
            log.exception("execution.failed", extra={"record_id": str(record.id), "task_name": record.task_name})
            await self._fail(record, error)
        finally:
            execution = asyncio.current_task()
            assert execution is not None
            self.busy.discard(execution)
            del self.running[execution]
            self._freed.set()

    async def _fail(self, record: QueuedTaskRecord, error: Exception) -> None:
        """Record that the execution backend has raised, unless the record has moved on."""
        try:
            failure, at = failure_of(error), self._queue.now()
            if record.status is TaskStatus.DISPATCHED:
                after = lifecycle.lose(record, failure=failure, delay=backoff_delay(None, record.losses + 1), at=at)
            else:
                after = lifecycle.retry_or_fail(record, failure=failure, delay=retry_delay(record), at=at)
            await self._service.swap(record, after)
        except Exception:
            # The record is still owned: maintenance finds that nobody runs it.
            log.warning("execution.failure_not_recorded", extra={"record_id": str(record.id)}, exc_info=True)


class DispatchPump(Pump):
    """Reserves records for one external execution backend, as fast as that backend allows."""

    async def free_slots(self) -> int:
        """How many more the backend would dispatch now."""
        (backend,) = self._backends.values()
        return max(0, await backend.capacity(self._service) - len(self.busy))

    def claim(self, limit: int) -> Claim:
        """Say what this pump would reserve."""
        return Claim(
            worker_id=self._heartbeat.worker_id,
            limit=limit,
            execution_backends=tuple(self._backends),
            queues=self._queues,
            to=TaskStatus.DISPATCHED,
        )
