"""A worker runs as many records at once as it has slots, and no more."""

import asyncio
from dataclasses import replace

from lq_core import QueueConfig, QueueService, RetryLater, TaskContext, Worker, task


class Crowd:
    """Counts who is inside at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0

    async def visit(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.002)  # Long enough for a claim to be under way when it ends.
        self.inside -= 1


crowd = Crowd()


@task(name="slots.come_back_at_once")
async def come_back_at_once(context: TaskContext, times: int) -> None:
    await crowd.visit()
    if context.attempt <= times:
        raise RetryLater(0)


async def test_a_record_that_comes_back_at_once_takes_one_slot(config: QueueConfig) -> None:
    globals()["crowd"] = counted = Crowd()
    async with QueueService(replace(config, concurrency=5)) as service, Worker(service):
        sent = await service.enqueue_many(come_back_at_once.call(20) for _ in range(40))
        for one in sent:
            await one.wait(timeout=30)

    assert counted.most <= 5
