"""Who runs a record, and who may not."""

import pytest

import shop
from lq_core import (
    InProcessExecutionBackend,
    OwnershipLostError,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    TaskFailedError,
    Worker,
    execution_backend,
)
from lq_core.execution import ExecutionService


async def test_a_second_worker_of_a_service_changes_nothing_for_the_first(
    service: QueueService, worker: Worker
) -> None:
    async with Worker(service):
        with pytest.raises(TaskFailedError, match="cancelled itself"):
            await (await service.enqueue(shop.cancel_itself)).wait(timeout=10)

    with pytest.raises(TaskFailedError, match="cancelled itself"):
        await (await service.enqueue(shop.cancel_itself)).wait(timeout=10)


async def test_what_another_process_runs_is_not_started_here(config: QueueConfig, service: QueueService) -> None:
    gate = shop.new_gate()
    async with QueueService(config, queue_backend=service.queue_backend) as other, Worker(service):
        sent = await service.enqueue(shop.wait_at_gate)
        await gate.wait_begun()
        running = await sent.refresh()
        with pytest.raises(OwnershipLostError):
            await other.execute_record(running)
        gate.opened.set()
        await sent.wait(timeout=10)


@execution_backend("forgetful")
class Forgetful(InProcessExecutionBackend):
    """Runs records here, and does not say for whom."""

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        return await service.execute_record(record)


async def test_who_executes_need_not_say_for_which_worker(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.add.using(execution_backend="forgetful"), 1, 2)

    assert await sent.wait(timeout=10) == 3


async def test_a_worker_ends_well_whose_service_has_been_closed(config: QueueConfig) -> None:
    service = await QueueService(config).open()
    async with Worker(service):
        await service.close()
