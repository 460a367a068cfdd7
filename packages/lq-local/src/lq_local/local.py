"""Runs a record in the process of the worker that has claimed it."""

from lq_core.execution import ExecutionService, InProcessExecutionBackend
from lq_core.records.record import QueuedTaskRecord


class LocalExecutionBackend(InProcessExecutionBackend):
    """Runs one claimed record in a local worker: an async function in its event loop, a plain one in a thread."""

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        """Execute one claimed record and return the updated record."""
        return await service.execute_record(record, worker_id=worker_id)
