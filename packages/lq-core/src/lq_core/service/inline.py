"""Runs records during their enqueue, in the process that enqueues them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from lq_core.execution import ExecutionService
from lq_core.foundation.errors import OwnershipLostError
from lq_core.presence.presence import Presence
from lq_core.records import lifecycle
from lq_core.records.record import KeyScope, QueuedTaskRecord, TaskStatus
from lq_core.service.executions import Executions
from lq_core.service.result import EnqueueOutcome, TaskResult
from lq_core.tasks.call import TaskCall

Result = TypeVar("Result")

_CHANGED: Final = frozenset({EnqueueOutcome.CREATED, EnqueueOutcome.REPLACED})


class InlineRuns:
    """Claims and runs due records whose execution backend is ``inline``, for one presence."""

    def __init__(self, service: ExecutionService, executions: Executions, presence: Callable[[], Presence]) -> None:
        self._service = service
        self._executions = executions
        self._presence = presence

    def among(self, records: Sequence[QueuedTaskRecord], *, at: datetime) -> Sequence[QueuedTaskRecord]:
        """Find the records that it takes; usually none, which takes one look at each execution backend."""
        backends = {record.execution_backend for record in records}
        if not any(map(self._executions.runs_inline, backends)):
            return ()
        return [record for record in records if self.takes(record, at=at)]

    def takes(self, record: QueuedTaskRecord, *, at: datetime) -> bool:
        """Whether a record runs during its enqueue."""
        is_inline = self._executions.runs_inline(record.execution_backend)
        return is_inline and record.scheduled_at <= at and not record.blocked

    async def claimed(
        self, calls: Sequence[TaskCall[Result]], records: Sequence[QueuedTaskRecord], *, at: datetime
    ) -> Sequence[QueuedTaskRecord]:
        """Claim the records that it takes before they are stored, unless their keys must be checked first."""
        presence = self._presence()
        await presence.start()
        return [
            lifecycle.claim(record, worker_id=presence.worker_id, at=at)
            if self.takes(record, at=at) and not _asks_first(call, record)
            else record
            for call, record in zip(calls, records, strict=True)
        ]

    async def run(self, results: Sequence[TaskResult[Result]], *, at: datetime) -> None:
        """Run the created and replaced records, one after another, and update their results."""
        changed = [result for result in results if self.takes(result.record, at=at) and result.outcome in _CHANGED]
        # If several results have the same record, the last one is current.
        newest = {result.id: result for result in changed}
        if newest:
            await self._run(list(newest.values()))
            for result in results:
                result.record = newest.get(result.id, result).record

    async def _run(self, results: Sequence[TaskResult[Result]]) -> None:
        presence, ended = self._presence(), 0
        held = [result.record for result in results if result.record.status is TaskStatus.RUNNING]
        for record in held:
            presence.hold(record)
        try:
            for result in results:
                if result.record.status is TaskStatus.PENDING:
                    try:
                        result.record = await presence.claim_one(result.record)
                    except OwnershipLostError:
                        ended += 1
                        continue  # A worker claimed it first.
                    presence.hold(result.record)
                    held.append(result.record)
                record = result.record
                backend = await self._executions.opened(record.execution_backend, self._service)
                result.record = await backend.execute(self._service, record, worker_id=record.worker_id)
                ended += 1
        finally:
            try:
                with presence.claiming():  # The audit releases the records that this does not.
                    for record in [result.record for result in results[ended:]]:
                        if record.status is TaskStatus.RUNNING:
                            at = self._service.queue_backend.now()
                            released = lifecycle.interrupt(record, at=at, message="its enqueue ended")
                            await self._service.swap(record, released)
            finally:
                for record in held:
                    presence.drop(record)


def _asks_first(call: TaskCall[Result], record: QueuedTaskRecord) -> bool:
    """Whether the key must be checked before the start, which releases it or makes a replacement impossible."""
    return record.key is not None and (record.key_scope is KeyScope.STARTED or call.options.on_conflict.amends)
