"""Fairness as a worker shows it: the backlog of one tenant does not hold up another one."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from dict_backend import DictQueueBackend

from lq_core import ConfigurationError, QueueConfig, QueueService, TaskContext, Worker, schedule, task
from lq_core.schedules.schedule import SCHEDULES

started: list[str] = []


@task(name="fair.work", fairness_key_from=("tenant",))
async def work(tenant: str) -> int:
    started.append(tenant)
    return len(started)


@task(name="fair.come_back", fairness_key="small", retries=1, backoff=0.01)
async def come_back(context: TaskContext) -> int:
    if context.record.attempt == 1:
        raise OSError("again")
    started.append("again")
    return len(started)


@pytest.fixture
async def one_by_one(config: QueueConfig) -> AsyncIterator[QueueService]:
    """A service whose worker runs one record at a time."""
    started.clear()
    async with QueueService(replace(config, concurrency=1)) as service:
        yield service


async def test_a_tenant_starts_beside_the_backlog_of_another(one_by_one: QueueService) -> None:
    await one_by_one.enqueue_many([work.call("large") for _ in range(500)])
    sent = await one_by_one.enqueue_many([work.call("small") for _ in range(2)])

    async with Worker(one_by_one):
        places = [await one.wait(timeout=30) for one in sent]

    assert places == [2, 4]


async def test_a_retry_starts_beside_the_backlog_of_another_tenant(one_by_one: QueueService) -> None:
    sent = await one_by_one.enqueue(come_back)
    await one_by_one.enqueue_many([work.call("large") for _ in range(3000)])

    async with Worker(one_by_one):
        place = await sent.wait(timeout=60)

    assert place < 3000


async def test_a_call_of_a_schedule_has_its_fairness_key(config: QueueConfig) -> None:
    declared = schedule(work.call("small"), name="fair.tick", every=1)
    del SCHEDULES["fair.tick"]  # The workers of other tests would fire it.
    async with QueueService(config) as service:
        record = service.record_of(declared.call, at=service.queue_backend.now())

    assert record.fairness_key == work.call("small").fairness_key


async def test_a_queue_backend_that_takes_no_turns_refuses_a_fairness_key() -> None:
    backend = DictQueueBackend()
    async with QueueService(backend.config, queue_backend=backend) as service:
        with pytest.raises(ConfigurationError, match="DictQueueBackend does not support fairness keys"):
            await service.enqueue(work, "small")
        with pytest.raises(ConfigurationError, match="DictQueueBackend does not support fairness keys"):
            service.record_of(work.call("small"), at=backend.now())
