"""Runs a record inline: in the current event loop, while it is enqueued."""

from typing import ClassVar

from lq_core.execution import BaseExecutionBackend, ExecutionService
from lq_core.record import QueuedTaskRecord


class ImmediateExecutionBackend(BaseExecutionBackend):
    """
    Runs a record during its enqueue, in the current event loop; ``enqueue`` returns when the attempt has ended.

    The record is stored as running first, so that a crash loses nothing. A delayed record, and a retry, wait
    for a worker.
    """

    inline: ClassVar[bool] = True

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        """Execute a record immediately, in the current event loop, and return the updated record."""
        return await service.execute_record(record, worker_id=worker_id)
