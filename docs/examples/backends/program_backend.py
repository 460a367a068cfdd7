"""An execution backend that starts a program for each record; the program claims the record."""

import sys
from asyncio.subprocess import Process, create_subprocess_exec

from lq_core import (
    ConfigurationError,
    ExternalExecutionBackend,
    QueueConfig,
    QueuedTaskRecord,
    RecordFilter,
    TaskFailure,
    execution_backend,
)
from lq_core.execution import ExecutionService
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.records import lifecycle
from lq_core.records.record import OWNED


@execution_backend("programs")
class ProgramExecutionBackend(ExternalExecutionBackend):
    """Starts a program for each record, on this machine."""

    reconcile_interval = 1.0
    limit = 4

    def __init__(self, config: QueueConfig | None = None) -> None:
        super().__init__(config)
        self.command = [sys.executable, "-m", "run_one_record"]
        self._programs: dict[str, Process | None] = {}

    async def open(self, service: ExecutionService) -> None:
        """Refuse a queue that another program cannot open."""
        if not isinstance(service.config.queue_backend, SQLiteConfig):
            raise ConfigurationError("The programs need a file: QueueConfig(queue_backend=SQLiteConfig(path=...)).")

    async def close(self) -> None:
        """End the programs."""
        for program in self._programs.values():
            if program is not None:
                if program.returncode is None:
                    program.kill()
                await program.wait()

    async def dispatch(self, service: ExecutionService, record: QueuedTaskRecord) -> str | None:
        """Store the reference before the program can claim the record."""
        store = service.config.queue_backend
        assert isinstance(store, SQLiteConfig)
        reference = f"{record.id}/{record.epoch}"
        self._programs[reference] = None
        if not await service.swap(record, lifecycle.attach(record, execution_ref=reference)):
            return None  # The record was cancelled in between.
        place = [str(store.path), str(record.id), str(record.epoch), *service.config.task_modules]
        self._programs[reference] = await create_subprocess_exec(*self.command, *place)
        return reference

    async def reconcile(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Take the record only if its program has ended."""
        reference = record.execution_ref or ""
        if record.status not in OWNED or (reference in self._programs and self._is_alive(reference)):
            return None
        failure = TaskFailure(type="ProgramGone", message="The program has ended and left the record behind.")
        lost = lifecycle.lose(record, failure=failure, at=service.queue_backend.now(), delay=1.0)
        return lost if await service.swap(record, lost) else None

    async def cancel(self, service: ExecutionService, record: QueuedTaskRecord) -> bool:  # noqa: ARG002 -- every backend gets it
        """End the program of a record. Reconciliation finds the record afterwards."""
        program = self._programs.get(record.execution_ref or "")
        if program is None or program.returncode is not None:
            return False
        program.terminate()
        return True

    async def capacity(self, service: ExecutionService) -> int:
        """Count the records that all workers have dispatched, because they share the limit."""
        dispatched = RecordFilter(statuses=tuple(OWNED), execution_backends=(self.name,))
        return max(0, self.limit - await service.queue_backend.count(dispatched))

    def _is_alive(self, reference: str) -> bool:
        program = self._programs[reference]
        return program is None or program.returncode is None
