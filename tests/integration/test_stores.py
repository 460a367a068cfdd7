"""Queues in several databases: calls are routed to their store, one process works for all, and questions go to all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from uuid import UUID

import pytest

from lq_core import (
    INJECTED,
    QueueConfig,
    QueueService,
    RateLimit,
    RecordNotFoundError,
    RoutedQueueService,
    StoreWorkers,
    SyncQueueService,
    TaskFailedError,
    TaskStatus,
    Worker,
    task,
)
from mail_store import SHARED, TWO_STORES, add, in_two_stores, mail


@task(name="stores.mail_later")
async def mail_later(number: int, queue: QueueService = INJECTED) -> str:
    return str((await queue.enqueue(mail, number)).id)


@pytest.fixture(params=TWO_STORES)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> QueueConfig:
    return in_two_stores(request, tmp_path)


@pytest.fixture
async def service(config: QueueConfig) -> AsyncIterator[RoutedQueueService]:
    async with RoutedQueueService(config) as service:
        yield service


async def test_a_call_is_stored_in_the_store_of_its_queue(service: RoutedQueueService) -> None:
    added, mailed = await service.enqueue(add, 1, 2), await service.enqueue(mail, 3)

    assert await service.stores["main"].get(added.id) == added.record
    assert await service.stores["bulk"].get(mailed.id) == mailed.record
    assert await service.stores["main"].get(mailed.id) is await service.stores["bulk"].get(added.id) is None
    assert [await service.get(one.id) for one in (added, mailed)] == [added.record, mailed.record]


async def test_one_process_works_for_all_stores(service: RoutedQueueService) -> None:
    async with StoreWorkers(service):
        added, mailed = await service.enqueue(add, 1, 2), await service.enqueue(mail, 3)

        assert await added.wait(timeout=10) == 3
        assert (await service.wait(mailed.id, timeout=10)).status is TaskStatus.COMPLETED
        assert len(await service.workers()) == 2


async def test_a_worker_of_one_store_runs_only_its_queues(service: RoutedQueueService) -> None:
    async with Worker(service.stores["bulk"]):
        added, mailed = await service.enqueue(add, 1, 2), await service.enqueue(mail, 3)

        assert await mailed.wait(timeout=10) == 3
        assert (await added.refresh()).status is TaskStatus.PENDING


async def test_a_task_that_asks_for_the_service_enqueues_into_every_store(service: RoutedQueueService) -> None:
    async with StoreWorkers(service):
        begun = await service.enqueue(mail_later, 7)
        await begun.wait(timeout=10)

        (mailed,) = await service.stores["bulk"].find()
        assert (await service.wait(mailed.id, timeout=10)).result == "7"


@task(name="stores.close")
async def close(queue: RoutedQueueService = INJECTED) -> None:
    await queue.close()


@task(name="stores.mail_plainly")
def mail_plainly(number: int, queue: SyncQueueService = INJECTED) -> str:
    return str(queue.enqueue(mail, number).id)


async def test_a_plain_task_enqueues_into_every_store(service: RoutedQueueService) -> None:
    async with StoreWorkers(service):
        begun = await service.enqueue(mail_plainly, 7)
        mailed = UUID(await begun.wait(timeout=10))

        assert (await service.wait(mailed, timeout=10)).result == "7"


async def test_a_task_cannot_close_the_stores(service: RoutedQueueService) -> None:
    async with StoreWorkers(service) as workers:
        closing = await service.enqueue(close)
        with pytest.raises(TaskFailedError, match="cannot close the QueueService that runs it"):
            await closing.wait(timeout=10)

        assert await (await service.enqueue(mail, 3)).wait(timeout=10) == 3
        assert workers.worker_id in service.worker_ids
        assert workers.trouble is None
    assert service.running() == []


async def test_what_reads_many_records_reads_all_stores(service: RoutedQueueService) -> None:
    sent = [await service.enqueue(task, number) for number in range(2) for task in (mail, mail)]
    sent += [await service.enqueue(add, number, 1) for number in range(3)]
    ids = sorted((one.id for one in sent), reverse=True)

    first = await service.find(limit=4)
    rest = await service.find(limit=4, before=first[-1].id)

    assert [one.id for one in (*first, *rest)] == ids
    assert await service.count() == 7
    statistics = await service.statistics()
    assert {queue: statistics.due[queue].number for queue in statistics.due} == {"default": 3, "mail": 4}
    assert statistics.total(TaskStatus.PENDING) == 7


async def test_what_changes_many_records_changes_all_stores(service: RoutedQueueService) -> None:
    for each in (add.call(1, 1), mail.call(2)):
        await service.enqueue_many([each])

    assert await service.cancel_many(SHARED) == 2
    assert await service.retry_many(SHARED) == 2
    assert await service.cancel_many(SHARED) == 2
    assert await service.delete_many(SHARED) == 2
    assert await service.count() == 0


async def test_one_record_is_changed_in_its_store(service: RoutedQueueService) -> None:
    mailed = await service.enqueue(mail, 3)

    assert await service.cancel(mailed.id)
    assert (await service.retry(mailed.id)).status is TaskStatus.PENDING
    await service.stores["bulk"].cancel(mailed.id)
    await service.stores["bulk"].delete_many(SHARED)
    with pytest.raises(RecordNotFoundError):
        await service.retry(mailed.id)
    assert await service.get(mailed.id) is None


async def test_events_of_records_in_several_stores_come_in_one_stream(service: RoutedQueueService) -> None:
    async with StoreWorkers(service):
        sent = [await service.enqueue(add, 1, 2), await service.enqueue(mail, 3)]
        ended = {event.record_id async for event in service.events(of=sent) if event.event == "completed"}

    assert ended == {one.id for one in sent}


async def test_new_events_of_all_stores_are_followed(service: RoutedQueueService) -> None:
    async with aclosing(service.events()) as events, asyncio.timeout(30):
        following = asyncio.create_task(anext(events))
        await asyncio.sleep(0)  # The stream begins to follow before anything is enqueued,
        await asyncio.sleep(0)  # and so do those of the stores.
        mailed, added = await service.enqueue(mail, 1), await service.enqueue(add, 1, 2)
        seen = {(await following).record_id, (await anext(events)).record_id}

    assert seen == {mailed.id, added.id}


async def test_a_queue_is_paused_and_limited_in_all_stores(service: RoutedQueueService) -> None:
    await service.pause("mail")
    await service.limit_queue("mail", concurrency=3, rate=RateLimit(5))

    for store in service.stores.values():
        state = (await store.queues())["mail"]
        assert state.paused
        assert state.limits is not None
        assert state.limits.concurrency == 3
    await service.resume("mail")
    assert not (await service.queues())["mail"].paused
    async with StoreWorkers(service):
        await service.enqueue(mail, 1)
        assert await service.drain("mail", timeout=10) == 0


async def test_the_demand_is_that_of_the_store_that_needs_most(service: RoutedQueueService) -> None:
    for number in range(600):
        await service.enqueue(mail, number)
    await service.enqueue(add, 1, 2)

    demand = await service.demand(concurrency=1)

    assert demand.due == 601
    assert demand.workers_wanted == (await service.stores["bulk"].demand(concurrency=1)).workers_wanted > 1


def test_plain_code_is_routed_too(config: QueueConfig) -> None:
    with SyncQueueService(config) as queue:
        mailed = queue.enqueue(mail, 1)
        assert queue.get(mailed.id) == mailed.record
        assert queue.count() == 1
        assert isinstance(queue.call(_itself), RoutedQueueService)


async def _itself(service: QueueService) -> QueueService:
    return service
