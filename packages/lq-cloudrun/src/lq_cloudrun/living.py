"""Which workers are alive, and so how many of them share a pace."""

from collections.abc import Sequence
from datetime import timedelta

from lq_core.execution import ExecutionService
from lq_core.queue import WorkerInfo


async def living_workers(service: ExecutionService) -> Sequence[WorkerInfo]:
    """Read the workers that have not missed two heartbeats; the containers are among them."""
    limit = service.queue_backend.now() - timedelta(seconds=2 * service.config.heartbeat_interval)
    return [worker for worker in await service.queue_backend.workers() if worker.seen_at >= limit]
