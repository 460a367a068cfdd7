"""
A container that drains: a worker that takes due records until there are none, its time is up, or it is stopped.

It looks after its own records only. What it leaves behind when it dies is rescued like the records of any worker.
"""

import asyncio
import time
from typing import Final

from msgspec.structs import replace

from lq_cloudrun.container import DrainContainer
from lq_cloudrun.exit_code import CloudRunExitCode
from lq_cloudrun.interruptions import failure_of_too_many
from lq_cloudrun.reaching import open_where_it_is, reach
from lq_cloudrun.target import log_page
from lq_core import lifecycle
from lq_core.attempt import StopReason
from lq_core.errors import QueueError, StorageError
from lq_core.event_log import event_log
from lq_core.execution import BaseExecutionBackend, ExecutionService
from lq_core.heartbeat import Heartbeat
from lq_core.identity import new_worker_id
from lq_core.queue import Claim, WorkerInfo
from lq_core.record import QueuedTaskRecord, TaskFailure
from lq_core.service import QueueService
from lq_core.worker.loop import Stop, repeat
from lq_core.worker.maintenance import Maintenance
from lq_core.worker.pump import Pump

log = event_log("lq.cloudrun")

LOOK: Final = 0.1
"""Seconds between two looks whether there is anything left to do."""

LINGER: Final = 10.0
"""So many seconds are waited for what is about to become due: a new container would take longer to start."""

GRACE: Final = 2.0
"""Seconds after SIGTERM in which what runs may still end by itself; all in all there are ten."""

SETTLING: Final = 4.0
"""Seconds in which what was stopped is given back."""


async def drain(
    service: QueueService, container: DrainContainer, *, began: float, stopping: "asyncio.Task[None]"
) -> CloudRunExitCode:
    """Take and run records until it is time to leave; *began* by ``time.monotonic()``, *stopping* ends at SIGTERM."""
    return await _Draining(service, container, began, stopping).perform()


class DrainedExecution(BaseExecutionBackend):
    """Runs one claimed record in this container."""

    def __init__(self, container: DrainContainer) -> None:
        super().__init__()
        self.order = container.order
        name = f"{self.order.job}/executions/{container.execution}"
        self._log_url = log_page(name) if container.execution else None
        self.records = 0
        """How many it has been given."""

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        """Run a record, unless it is not for this container, or was interrupted too often."""
        self.records += 1
        failure = self._refusal(record)
        if failure is None:
            # Kept with the outcome: a write of its own would cost as much as the claim.
            return await service.execute_record(replace(record, log_url=self._log_url), worker_id=worker_id)
        failed = lifecycle.retry_or_fail(record, failure=failure, delay=None, at=service.queue_backend.now())
        return failed if await service.swap(record, failed) else await service.queue_backend.get(record.id) or record

    def _refusal(self, record: QueuedTaskRecord) -> TaskFailure | None:
        if record.execution_profile is not None:
            message = (
                f"The record names the execution profile {record.execution_profile!r}, but where Cloud Run drains, "
                "its queue decides in which job it runs: put the task into a queue of its own instead."
            )
            return TaskFailure(type="UnknownProfileError", message=message)
        return failure_of_too_many(record, most=self.order.max_interruptions, timeout=self.order.timeout)


class _DrainPump(Pump):
    """Claims as many records at once as the order says."""

    def __init__(self, service: QueueService, execution: DrainedExecution, *, heartbeat: Heartbeat) -> None:
        self._order = order = execution.order
        super().__init__(service, {order.execution_backend: execution}, heartbeat=heartbeat, queues=order.queues)

    async def free_slots(self) -> int:
        return max(0, self._order.concurrency - len(self.busy))


class _Draining:
    def __init__(
        self, service: QueueService, container: DrainContainer, began: float, stopping: "asyncio.Task[None]"
    ) -> None:
        self._service = service
        self._queue = service.queue_backend
        self._container = container
        self._order = container.order
        self._began = began
        self._stopping = stopping
        self._execution = DrainedExecution(container)

    async def perform(self) -> CloudRunExitCode:
        beginning = asyncio.create_task(reach(self._begin, seconds=self._container.connect_seconds))
        try:
            await asyncio.wait({beginning, self._stopping}, return_when=asyncio.FIRST_COMPLETED)
            if beginning.done():
                await self._work(beginning.result())
        except (QueueError, OSError) as error:
            log.error("cloudrun.refused", extra={"reason": str(error)})  # noqa: TRY400 -- the line says all
            return CloudRunExitCode.FAILURE
        finally:
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
        log.info("cloudrun.drained", extra={"records": self._execution.records, "stopped": self._stopping.done()})
        return CloudRunExitCode.SUCCESS

    async def _begin(self) -> Heartbeat:
        await open_where_it_is(self._service)
        now = self._queue.now()
        # It names no execution backend: those who do are the workers that share the pace.
        info = WorkerInfo(
            id=new_worker_id(),
            queues=self._order.queues,
            concurrency=self._order.concurrency,
            started_at=now,
            seen_at=now,
        )
        heartbeat = Heartbeat(self._queue, info, self._service.runner.attempts)
        await heartbeat.start()
        return heartbeat

    async def _work(self, heartbeat: Heartbeat) -> None:
        runner, stop = self._service.runner, Stop()
        pump = _DrainPump(self._service, self._execution, heartbeat=heartbeat)
        maintenance = Maintenance(
            self._service, heartbeat=heartbeat, held=lambda: {*runner.attempts, *pump.running.values()}
        )
        runner.hosts.append(pump)
        log.info("cloudrun.draining", extra={"worker_id": heartbeat.worker_id, "queues": self._order.queues})
        loops = [asyncio.create_task(repeat(step.__name__, step, stop)) for step in (pump.step, maintenance.recover)]
        try:
            await self._until_nothing_is_left(pump)
        finally:
            stop.set()
            pump.nudge()
            self._queue.wake()
            await asyncio.gather(*loops)
            await self._let_end(pump)
            await heartbeat.stop()
            runner.hosts.remove(pump)
            runner.on_end.remove(maintenance.nudge)

    async def _until_nothing_is_left(self, pump: Pump) -> None:
        idle_since = time.monotonic()
        while not self._stopping.done() and (left := self._left(self._order.drain_time)) > 0:
            await asyncio.wait({self._stopping}, timeout=min(LOOK, left))
            if pump.running:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= LINGER or not await self._is_due(pump.claim(1)):
                return

    async def _is_due(self, claim: Claim) -> bool:
        try:
            due = await self._queue.next_due(claim)
        except StorageError:
            return True  # Nobody can say; the pump tells of it.
        return due is not None and (due - self._queue.now()).total_seconds() < LINGER

    async def _let_end(self, pump: Pump) -> None:
        """Wait for what runs as long as there is time, then give it back without spending a retry."""
        running = set(pump.running)
        if not running:
            return
        ended = asyncio.create_task(asyncio.wait(running))
        left = self._left(self._order.drain_time + self._order.timeout)
        await asyncio.wait({ended, self._stopping}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
        if self._stopping.done():
            await asyncio.wait({ended}, timeout=GRACE)
        for attempt in list(self._service.runner.attempts.values()):
            attempt.stop(StopReason.STOPPING)
        await asyncio.wait({ended}, timeout=SETTLING)
        ended.cancel()

    def _left(self, seconds: float) -> float:
        return seconds - (time.monotonic() - self._began)
