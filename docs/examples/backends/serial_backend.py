"""An execution backend of a third party that runs records in its worker: one at a time."""

from lq_core import InProcessExecutionBackend, QueuedTaskRecord, execution_backend
from lq_core.execution import ExecutionService


@execution_backend("serial")
class SerialExecutionBackend(InProcessExecutionBackend):
    """Runs one record at a time in each worker, for a library that two tasks must not use at once."""

    slots = 1

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        """Run one claimed record to the end of its attempt."""
        return await service.execute_record(record, worker_id=worker_id)
