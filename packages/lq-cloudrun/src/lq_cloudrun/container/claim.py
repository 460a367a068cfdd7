"""
How a container claims its record: by id and epoch, whether or not the dispatcher lived to store its reference.

A container that Cloud Run has restarted may take over the claim of its earlier process, which is dead.
"""

from typing import NamedTuple

from lq_cloudrun.container.environment import RecordContainer
from lq_cloudrun.executions.status import CloudRunExitCode
from lq_cloudrun.executions.target import job_of, log_page
from lq_core.queue import BaseQueueBackend
from lq_core.records import lifecycle
from lq_core.records.record import QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.service import QueueService


class Claim(NamedTuple):
    """The answer to a container: a record to run, or otherwise the code to exit with, and the reason."""

    record: QueuedTaskRecord | None = None
    code: CloudRunExitCode = CloudRunExitCode.CLAIM_LOST
    reason: str = ""


async def claim(service: QueueService, container: RecordContainer, *, worker_id: str) -> Claim:
    """Take the record of this container, in one write. Raises StorageError; the next try finds out what it took."""
    queue: BaseQueueBackend = service.queue_backend
    while True:
        record = await queue.get(container.task_id)
        if record is None:
            reason = "there is no such record: retention has deleted it, or this is another database"
            return Claim(None, CloudRunExitCode.MISSING_RECORD, reason)
        if record.status is TaskStatus.RUNNING and record.worker_id == worker_id:
            # The answer to the claim was lost; the claim was not.
            return Claim(record)
        refusal = _refusal(service, record, container)
        if refusal is not None:
            return refusal
        taken = _taken(record, container, worker_id=worker_id, queue=queue)
        if await service.swap(record, taken):
            if taken.status is TaskStatus.RUNNING:
                return Claim(taken)
            reason = f"its earlier process was lost, and the record is {taken.status} now"
            code = CloudRunExitCode.CANCELLED if taken.status is TaskStatus.CANCELLED else CloudRunExitCode.FAILURE
            return Claim(None, code, reason)


def _refusal(service: QueueService, record: QueuedTaskRecord, container: RecordContainer) -> Claim | None:
    if record.status is TaskStatus.CANCELLED:
        return Claim(None, CloudRunExitCode.CANCELLED, "the record was cancelled")
    if record.status is TaskStatus.COMPLETED and container.attempt > 0 and _has_its_log(record, container):
        return Claim(None, CloudRunExitCode.SUCCESS, "an earlier process has recorded the result")
    if _is_takeover(record, container):
        return None
    if container.epoch not in {None, record.epoch}:
        return Claim(reason=f"epoch {container.epoch} is over: the record is {record.status} at epoch {record.epoch}")
    if TaskStatus.RUNNING not in lifecycle.MOVES[record.status]:
        return Claim(reason=f"the record is {record.status}")
    if record.status is TaskStatus.PENDING and not service.is_external(record.execution_backend):
        return Claim(reason=f"the record belongs to the execution backend {record.execution_backend!r}")
    if not lifecycle.can_be_started(record, at=service.queue_backend.now()):
        return Claim(reason="the record may not start: it waits for others, is to be cancelled, or is overdue")
    return None


def _is_takeover(record: QueuedTaskRecord, container: RecordContainer) -> bool:
    return (
        container.attempt > 0
        and bool(container.execution)
        and record.status is TaskStatus.RUNNING
        and (record.execution_ref or "").endswith(f"/executions/{container.execution}")
    )


def _has_its_log(record: QueuedTaskRecord, container: RecordContainer) -> bool:
    """Whether the log of a record is that of this execution. It outlives the reference, and a release of the record."""
    return bool(container.execution) and container.execution in (record.log_url or "")


def _taken(
    record: QueuedTaskRecord, container: RecordContainer, *, worker_id: str, queue: BaseQueueBackend
) -> QueuedTaskRecord:
    at, reference = queue.now(), record.execution_ref
    if record.status is TaskStatus.RUNNING:
        failure = TaskFailure(
            type="ExecutionLost", message=f"Cloud Run has restarted the container of {container.execution}."
        )
        record = lifecycle.lose(record, failure=failure, at=at)
        if record.status is not TaskStatus.PENDING:
            return record
    started = lifecycle.claim(record, worker_id=worker_id, at=at)
    if reference is None or not container.execution:
        return started
    name = f"{job_of(reference)}/executions/{container.execution}"
    log_url = record.log_url if _has_its_log(record, container) else log_page(name)
    return lifecycle.attach(started, execution_ref=name, log_url=log_url)
