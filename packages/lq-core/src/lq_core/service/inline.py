"""Records that run during their enqueue, in the process that asks for them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from lq_core import lifecycle
from lq_core.execution import ExecutionService
from lq_core.record import KeyScope, QueuedTaskRecord, TaskStatus
from lq_core.result import EnqueueOutcome, TaskResult
from lq_core.service.executions import Executions
from lq_core.service.runner import Runner
from lq_core.task import TaskCall

Result = TypeVar("Result")

_CHANGED: Final = frozenset({EnqueueOutcome.CREATED, EnqueueOutcome.REPLACED})


class InlineRuns:
    """Claims and runs what is due and has an execution backend that is ``inline``."""

    def __init__(self, service: ExecutionService, executions: Executions, runner: Callable[[], Runner]) -> None:
        self._service = service
        self._executions = executions
        self._runner = runner

    def takes(self, record: QueuedTaskRecord, *, at: datetime) -> bool:
        """Whether a record is to run during its enqueue."""
        is_inline = self._executions.runs_inline(record.execution_backend)
        return is_inline and record.scheduled_at <= at and not record.blocked

    async def claimed(
        self, calls: Sequence[TaskCall[Result]], records: Sequence[QueuedTaskRecord], *, at: datetime
    ) -> Sequence[QueuedTaskRecord]:
        """Let the records that it takes be stored as running already, but for those that may not begin yet."""
        worker_id = await self._runner().worker_id()
        return [
            lifecycle.claim(record, worker_id=worker_id, at=at)
            if self.takes(record, at=at) and not _asks_first(call, record)
            else record
            for call, record in zip(calls, records, strict=True)
        ]

    async def run(self, results: Sequence[TaskResult[Result]], *, at: datetime) -> None:
        """Run what was created or replaced, one after another, and let each result tell what has become of it."""
        changed = [result for result in results if self.takes(result.record, at=at) and result.outcome in _CHANGED]
        # Of several results of one record, the last one tells what is asked for now.
        newest = {result.id: result for result in changed}
        if newest:
            await self._run(list(newest.values()))
            for result in results:
                result.record = newest.get(result.id, result).record

    async def _run(self, results: Sequence[TaskResult[Result]]) -> None:
        runner, ended = self._runner(), 0
        try:
            for result in results:
                if (record := await runner.claimed(result.record)) is not None:
                    result.record = record
                    backend = await self._executions.opened(record.execution_backend, self._service)
                    result.record = await backend.execute(self._service, record, worker_id=record.worker_id)
                ended += 1
        finally:
            # This process holds the rest and is alive: nobody else would look at what it does not run.
            left = [result.record for result in results[ended:] if result.record.status is TaskStatus.RUNNING]
            try:
                for record in left:
                    at = self._service.queue_backend.now()
                    step = lifecycle.interrupt(record, at=at, message="its enqueue ended")
                    await self._service.swap(record, step)
            except BaseException:
                runner.doubt(left)
                raise


def _asks_first(call: TaskCall[Result], record: QueuedTaskRecord) -> bool:
    """Whether a key has to be asked for before the start, which lets go of it, or after which nothing is replaced."""
    return record.key is not None and (record.key_scope is KeyScope.STARTED or call.options.on_conflict.amends)
