"""What becomes of a record whose start was lost: its task decides, on every queue backend."""

from dataclasses import replace

import pytest

import shop
from lq_core import QueueConfig, QueueService, TaskFailedError, TaskStatus, Worker
from lq_core.contracts.records import a_worker
from lq_core.queue import Claim
from lq_core.tasks.options import OptionArguments


@pytest.mark.parametrize(
    "options, end",
    [
        ({}, "completed after 2"),
        ({"on_loss": "retry"}, "completed after 2"),
        ({"on_loss": "fail"}, "failed after 1"),
        ({"on_loss": "fail", "retries": 3}, "failed after 1"),
        ({"max_losses": 1}, "completed after 2"),
        ({"max_losses": 0}, "failed after 1"),
    ],
)
async def test_a_task_decides_whether_a_lost_start_is_repeated(
    service: QueueService, options: OptionArguments, end: str
) -> None:
    sent = await service.enqueue(shop.add.using(**options), 1, 2)
    await service.queue_backend.register(a_worker("ghost"))
    claim = Claim(worker_id="ghost", limit=1, execution_backends=("local",))
    assert len((await service.queue_backend.claim(claim)).records) == 1
    await service.queue_backend.retire("ghost")

    async with Worker(service):
        ended = await service.wait(sent.id, timeout=20)

    assert f"{ended.status} after {ended.attempt}" == end


async def test_a_task_that_must_not_start_twice_fails_when_its_worker_stops(config: QueueConfig) -> None:
    async with QueueService(replace(config, shutdown_grace=0.0)) as service:
        gate = shop.new_gate()
        async with Worker(service):
            sent = await service.enqueue(shop.wait_at_gate.using(on_loss="fail", retries=3))
            await gate.wait_begun()

        with pytest.raises(TaskFailedError, match="It was stopped: stopping, and on_loss is 'fail'"):
            await sent.wait(timeout=10)

        assert (sent.record.status, sent.record.attempt, gate.ended) == (TaskStatus.FAILED, 1, ["cancelled"])
