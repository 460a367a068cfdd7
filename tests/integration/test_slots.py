"""A worker runs as many records at once as it has slots, and no more."""

from dataclasses import replace

import pytest

import shop
from crowd import Crowd
from lq_core import (
    INJECTED,
    QueueConfig,
    QueueService,
    RetryLater,
    TaskContext,
    TaskFailedError,
    TaskStatus,
    Worker,
    task,
)

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


@task(name="slots.visit_with_a_call", execution_backend="local")
async def visit_with_a_call(queue: QueueService = INJECTED) -> None:
    _ = await queue.enqueue(shop.add.using(execution_backend="immediate"), 1, 1)
    await crowd.visit()


async def test_a_call_that_runs_inline_in_a_task_frees_no_slot(config: QueueConfig) -> None:
    globals()["crowd"] = counted = Crowd()
    async with QueueService(replace(config, concurrency=2)) as service, Worker(service):
        sent = await service.enqueue_many(visit_with_a_call.call() for _ in range(10))
        for one in sent:
            await one.wait(timeout=30)

    assert counted.most <= 2


async def test_a_stuck_task_takes_one_slot_and_no_more(config: QueueConfig) -> None:
    gate = shop.new_gate()
    async with QueueService(replace(config, concurrency=2)) as service, Worker(service):
        stuck = await service.enqueue(shop.wait_at_gate.using(priority=9))
        await gate.wait_begun()
        others = await service.enqueue_many(shop.add.call(number, 1) for number in range(20))

        assert [await one.wait(timeout=20) for one in others] == [number + 1 for number in range(20)]
        assert (await stuck.refresh()).status is TaskStatus.RUNNING
        gate.opened.set()
        await stuck.wait(timeout=10)


async def test_a_worker_without_a_free_slot_cancels_all_the_same(config: QueueConfig) -> None:
    async with QueueService(replace(config, concurrency=1, poll_interval=60)) as here:
        backend = here.queue_backend if config.queue_backend == "memory" else None
        async with QueueService(config, queue_backend=backend) as there, Worker(here):
            gate = shop.new_gate()
            running = await here.enqueue(shop.wait_at_gate)
            await gate.wait_begun()
            next_one = await here.enqueue(shop.add, 1, 1)

            assert await there.cancel(running.id)

            with pytest.raises(TaskFailedError, match="cancelled"):
                await running.wait(timeout=10)
            assert await next_one.wait(timeout=10) == 2
