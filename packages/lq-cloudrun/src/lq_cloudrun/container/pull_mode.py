"""A container in pull mode: it claims due records until there are none, its time is up, or it is stopped."""

import asyncio
import time
from typing import Final

from msgspec.structs import replace

from lq_cloudrun.container.environment import PullContainer
from lq_cloudrun.container.queue_access import connect
from lq_cloudrun.container.sigterm import unless_stopped
from lq_cloudrun.executions.request import failure_of_too_many
from lq_cloudrun.executions.status import CloudRunExitCode
from lq_cloudrun.executions.target import log_page
from lq_core.execution import ExecutionService, InProcessExecutionBackend
from lq_core.foundation.event_log import event_log
from lq_core.presence.presence import Presence
from lq_core.records import lifecycle
from lq_core.records.record import QueuedTaskRecord, TaskFailure
from lq_core.service import QueueService
from lq_core.worker.fetcher import Fetcher
from lq_core.worker.loop import Stop, repeat

log = event_log("lq.cloudrun")

LOOK: Final = 0.1
"""Seconds between two looks at what is left to do."""

LINGER: Final = 10.0
"""A container waits for records that become due within this many seconds: a new one would take longer to start."""

GRACE: Final = 2.0
"""Seconds after SIGTERM in which tasks may still end by themselves; Cloud Run gives ten in total."""

SETTLING: Final = 4.0
"""Seconds to release the records of the tasks that were stopped."""


class PullExecution(InProcessExecutionBackend):
    """Runs a claimed record in this container, unless it belongs elsewhere or was interrupted too often."""

    def __init__(self, container: PullContainer) -> None:
        super().__init__()
        self.order = container.order
        name = f"{self.order.job}/executions/{container.execution}"
        self._log_url = log_page(name) if container.execution else None
        self.records = 0
        """How many records it has executed."""

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        """Run a record, or fail it with advice."""
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
                f"The record names the execution profile {record.execution_profile!r}, but in pull mode, "
                "its queue decides in which job it runs: put the task into a queue of its own instead."
            )
            return TaskFailure(type="UnknownProfileError", message=message)
        return failure_of_too_many(record, most=self.order.max_interruptions, timeout=self.order.timeout)


async def pull(
    service: QueueService, container: PullContainer, *, began: float, stopping: "asyncio.Future[None]"
) -> CloudRunExitCode:
    """Claim and run records until it is time to leave; *began* by ``time.monotonic()``. Raises QueueError, OSError."""
    execution, order, seconds = PullExecution(container), container.order, container.connect_seconds
    connecting = connect(service, seconds=seconds, queues=order.queues, concurrency=order.concurrency)
    presence = await unless_stopped(connecting, stopping)
    if presence is not None:
        await _work(service, execution, presence, began=began, stopping=stopping)
    log.info("cloudrun.pulled", extra={"records": execution.records, "stopped": stopping.done()})
    return CloudRunExitCode.SUCCESS


async def _work(
    service: QueueService,
    execution: PullExecution,
    presence: Presence,
    *,
    began: float,
    stopping: "asyncio.Future[None]",
) -> None:
    order, stop, idle_since = execution.order, Stop(), time.monotonic()
    backends = {order.execution_backend: execution}
    fetcher = Fetcher(service, presence, backends, queues=order.queues, concurrency=order.concurrency)
    log.info("cloudrun.pulling", extra={"worker_id": presence.worker_id, "queues": order.queues})
    fetching = asyncio.create_task(repeat("claim", fetcher.step, stop))
    try:
        while not stopping.done() and (left := began + order.pull_time - time.monotonic()) > 0:
            await asyncio.wait({stopping}, timeout=min(LOOK, left))
            if presence.held:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= LINGER or not await fetcher.has_work(within=LINGER):
                break
        stop.set()
        fetcher.nudge()
        service.queue_backend.wake()
        await fetching
        # The tasks that run may end by themselves as long as there is time.
        idle = asyncio.create_task(presence.wait_idle(began + order.pull_time + order.timeout - time.monotonic()))
        await asyncio.wait({idle, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({idle}, timeout=GRACE)
        idle.cancel()
    finally:
        fetching.cancel()
        await presence.close(grace=SETTLING)
