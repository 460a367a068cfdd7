"""The same done to many records, on every queue backend."""

import asyncio

from lq_core import NonRetryable, QueueService, RecordFilter, TaskStatus, Worker, task
from lq_core.service.bulk import PAGE
from programs import until

MORE_THAN_A_PAGE = PAGE + 5


class Valve:
    """Whether the tasks of this file fail."""

    broken = True


@task(name="bulk.fetcher", queue="water")
async def fetcher(litres: int) -> int:
    if Valve.broken:
        raise NonRetryable
    return litres


@task(name="bulk.wait")
async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def test_many_failed_records_are_brought_back(service: QueueService) -> None:
    Valve.broken = True
    failed = RecordFilter(statuses=(TaskStatus.FAILED,), queues=("water",))
    sent = await service.enqueue_many(fetcher.call(litres) for litres in range(MORE_THAN_A_PAGE))
    async with Worker(service):
        for one in sent:
            await service.wait(one.id, timeout=30)
    Valve.broken = False
    before = await service.count(failed)

    assert before == await service.retry_many(failed) == MORE_THAN_A_PAGE
    assert await service.retry_many(failed) == 0
    async with Worker(service):
        assert [await one.wait(timeout=30) for one in sent] == list(range(MORE_THAN_A_PAGE))


async def test_what_cannot_be_retried_is_left_alone(service: QueueService) -> None:
    Valve.broken = False
    waiting = await service.enqueue(fetcher.using(delay=3600), 1)
    done = await service.enqueue(fetcher, 1)
    async with Worker(service):
        await done.wait(timeout=30)

    assert await service.retry_many(RecordFilter()) == 0
    assert (await waiting.refresh(), (await done.refresh()).status) == (waiting.record, TaskStatus.COMPLETED)


async def test_many_records_are_cancelled_those_that_run_as_well(service: QueueService) -> None:
    waiting = await service.enqueue_many(fetcher.using(delay=3600).call(number) for number in range(MORE_THAN_A_PAGE))
    other = await service.enqueue(wait_for_ever.using(queue="other", delay=3600))
    async with Worker(service):
        running = await service.enqueue(wait_for_ever)
        await started(service)
        cancelled = await service.cancel_many(RecordFilter(queues=("water", "default")))
        await service.wait(running.id, timeout=30)

    assert cancelled == MORE_THAN_A_PAGE + 1
    assert await service.count(RecordFilter(statuses=(TaskStatus.CANCELLED,))) == cancelled
    assert {(await one.refresh()).status for one in waiting[:3]} == {TaskStatus.CANCELLED}
    assert await other.refresh() == other.record


async def test_many_ended_records_are_deleted_and_those_that_wait_or_hold_a_key_are_not(service: QueueService) -> None:
    await service.enqueue_many(fetcher.call(number) for number in range(MORE_THAN_A_PAGE))
    await service.cancel_many(RecordFilter(queues=("water",)))
    waiting = await service.enqueue(fetcher, 1)
    holder = await service.enqueue(fetcher.using(key="tap", key_window=3600), 1)
    await service.cancel(holder.id)

    assert await service.delete_many(RecordFilter(queues=("elsewhere",))) == 0
    assert await service.delete_many(RecordFilter(queues=("water",))) == MORE_THAN_A_PAGE
    assert {record.id for record in await service.find()} == {waiting.id, holder.id}


async def started(service: QueueService) -> None:
    async def runs() -> bool:
        return await service.count(RecordFilter(statuses=(TaskStatus.RUNNING,))) == 1

    await until(runs, what="the task runs")
