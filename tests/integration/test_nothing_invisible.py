"""Every record that has not ended is looked at again without anyone's help, however it came to where it is."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec.structs import replace as changed

import shop
from lq_core import (
    ExternalExecutionBackend,
    InProcessExecutionBackend,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    TaskFailure,
    TaskStatus,
    Worker,
    execution_backend,
)
from lq_core.contracts import a_record, a_worker
from lq_core.execution import ExecutionService
from lq_core.queue import Swap
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import Dependencies


@execution_backend("elsewhere")
class Elsewhere(ExternalExecutionBackend):
    """Never starts anything, so that only reconciliation can end a record."""

    reconcile_interval = 0.05

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        return record

    async def reconcile(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        lost = lifecycle.reroute(record, execution_backend="local", at=service.queue_backend.now(), message="not there")
        return lost if await service.swap(record, lost) else None

    async def dispatch(self, service: ExecutionService, record: QueuedTaskRecord) -> str | None:
        return None

    async def cancel(self, service: ExecutionService, record: QueuedTaskRecord) -> bool:
        return False

    async def capacity(self, service: ExecutionService) -> int:
        return 10


@execution_backend("broken-elsewhere")
class BrokenElsewhere(Elsewhere):
    """Cannot even be asked."""

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        raise ConnectionError("nobody answers")

    async def reconcile(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        return None


@execution_backend("broken-here")
class BrokenHere(InProcessExecutionBackend):
    """Raises instead of running."""

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        raise ConnectionError("nothing works")


def a_sum(**changes: object) -> QueuedTaskRecord:
    record = a_record(task_name=shop.add.name, arguments='{"first": 1, "second": 1}')
    return changed(record, **changes)


Leave = Callable[[QueueService], Awaitable[QueuedTaskRecord]]


async def stored(service: QueueService, record: QueuedTaskRecord, *steps: QueuedTaskRecord) -> QueuedTaskRecord:
    """Store a record and take it through these steps."""
    await service.queue_backend.insert([record])
    for step in steps:
        await service.queue_backend.swap([Swap(record=step, epoch=record.epoch)])
        record = step
    return record


async def a_due_record(service: QueueService) -> QueuedTaskRecord:
    return await stored(service, a_sum())


async def a_delayed_record(service: QueueService) -> QueuedTaskRecord:
    return await stored(service, a_sum(scheduled_at=service.queue_backend.now() + timedelta(seconds=0.2)))


async def a_record_after_one_of_a_dead_worker(service: QueueService) -> QueuedTaskRecord:
    before = await a_record_of_a_dead_worker(service)
    return await stored(service, a_sum(after=Dependencies(ids=(before.id,)), blocked=True))


async def a_record_after_one_that_is_gone(service: QueueService) -> QueuedTaskRecord:
    return await stored(service, a_sum(after=Dependencies(ids=(new_id(),)), blocked=True))


async def a_record_after_others_that_was_brought_back(service: QueueService) -> QueuedTaskRecord:
    before = await a_record_of_a_dead_worker(service)
    record = a_sum(after=Dependencies(ids=(before.id,)), blocked=True)
    cancelled = lifecycle.cancel(record, at=record.created_at)
    return await stored(service, record, cancelled, lifecycle.retry(cancelled, at=record.created_at))


async def an_overdue_record(service: QueueService) -> QueuedTaskRecord:
    return await stored(service, a_sum(expires_at=service.queue_backend.now()))


async def a_record_of_a_dead_worker(service: QueueService) -> QueuedTaskRecord:
    record = a_sum()
    return await stored(service, record, lifecycle.claim(record, worker_id="dead", at=record.created_at))


async def a_record_of_a_worker_that_falls_silent(service: QueueService) -> QueuedTaskRecord:
    await service.queue_backend.register(a_worker("silent"))
    record = a_sum()
    return await stored(service, record, lifecycle.claim(record, worker_id="silent", at=record.created_at))


async def a_cancelled_record_of_a_dead_worker(service: QueueService) -> QueuedTaskRecord:
    running = await a_record_of_a_dead_worker(service)
    assert await service.cancel(running.id)
    return running


async def a_record_interrupted_while_it_was_asked_to_stop(service: QueueService) -> QueuedTaskRecord:
    running = await a_record_of_a_dead_worker(service)
    assert await service.queue_backend.request_cancel(running.id, running.epoch)
    # Its owner did not know of the request yet.
    returned = lifecycle.interrupt(running, at=service.queue_backend.now())
    await service.queue_backend.swap([Swap(record=returned, epoch=running.epoch)])
    return running


async def a_reserved_record_without_a_reference(service: QueueService) -> QueuedTaskRecord:
    record = a_sum(execution_backend="elsewhere")
    return await stored(service, record, lifecycle.dispatch(record, at=record.created_at))


async def a_record_that_runs_elsewhere(service: QueueService) -> QueuedTaskRecord:
    record = a_sum(execution_backend="elsewhere")
    reserved = lifecycle.dispatch(record, at=record.created_at)
    named = lifecycle.attach(reserved, execution_ref="executions/1")
    return await stored(service, record, reserved, named, lifecycle.claim(named, worker_id="box", at=record.created_at))


async def a_record_for_an_executor_that_can_never_be_asked(service: QueueService) -> QueuedTaskRecord:
    return await stored(service, a_sum(execution_backend="broken-elsewhere", losses=lifecycle.MAX_LOSSES))


async def a_record_for_a_backend_that_raises(service: QueueService) -> QueuedTaskRecord:
    return await stored(service, a_sum(execution_backend="broken-here"))


@pytest.mark.parametrize(
    "leave, end",
    [
        (a_due_record, "completed"),
        (a_delayed_record, "completed"),
        (a_record_after_one_of_a_dead_worker, "completed"),
        (a_record_after_one_that_is_gone, "cancelled"),
        (a_record_after_others_that_was_brought_back, "completed"),
        (an_overdue_record, "expired"),
        (a_record_of_a_dead_worker, "completed"),
        (a_record_of_a_worker_that_falls_silent, "completed"),
        (a_cancelled_record_of_a_dead_worker, "cancelled"),
        (a_record_interrupted_while_it_was_asked_to_stop, "cancelled"),
        (a_reserved_record_without_a_reference, "completed"),
        (a_record_that_runs_elsewhere, "completed"),
        (a_record_for_an_executor_that_can_never_be_asked, "failed"),
        (a_record_for_a_backend_that_raises, "failed"),
    ],
)
async def test_every_record_ends_without_anyones_help(config: QueueConfig, leave: Leave, end: str) -> None:
    async with QueueService(replace(config, poll_interval=0.05, heartbeat_timeout=1.0)) as service:
        left = await leave(service)

        async with Worker(service):
            ended = await service.wait(left.id, timeout=30)

    assert ended.status == end
    assert (ended.worker_id, ended.execution_ref) == (None, None)


async def test_the_failure_of_a_backend_is_told_in_the_record(service: QueueService, worker: Worker) -> None:
    left = await a_record_for_a_backend_that_raises(service)

    ended = await service.wait(left.id, timeout=10)

    assert ended.status is TaskStatus.FAILED
    assert isinstance(ended.error, TaskFailure)
    assert (ended.error.type, ended.error.message) == ("ConnectionError", "nothing works")
