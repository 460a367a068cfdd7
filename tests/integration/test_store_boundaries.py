"""What stays in one of several stores: moved queues, transactions, keys, predecessors, workers and schedules."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from lq_core import (
    ConfigurationError,
    EnqueueOutcome,
    QueueConfig,
    QueueService,
    RecordFilter,
    RoutedQueueService,
    StoreWorkers,
    TaskStatus,
    UnknownScheduleError,
    Worker,
    schedule,
)
from lq_core.schedules.schedule import SCHEDULES
from lq_postgres import PostgresConfig
from mail_store import MAIL, QUICK, TWO_STORES, add, in_two_stores, mail
from servers import PostgresServer


@pytest.fixture(params=TWO_STORES)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> QueueConfig:
    return in_two_stores(request, tmp_path)


@pytest.fixture
async def service(config: QueueConfig) -> AsyncIterator[RoutedQueueService]:
    async with RoutedQueueService(config) as service:
        yield service


async def test_a_moved_queue_drains_from_its_old_store(config: QueueConfig) -> None:
    async with RoutedQueueService(config) as before:
        old = await before.enqueue(mail, 1)

    async with RoutedQueueService(replace(config, routes={})) as after, StoreWorkers(after):
        new = await after.enqueue(mail, 2)
        assert await new.wait(timeout=10) == 2
        assert (await after.wait(old.id, timeout=10)).status is TaskStatus.COMPLETED
        assert await after.stores["bulk"].get(old.id) is not None
        assert await after.stores["main"].get(new.id) is not None


async def test_the_state_of_a_moved_queue_is_the_one_in_its_new_store(config: QueueConfig) -> None:
    async with RoutedQueueService(config) as before:
        await before.stores["bulk"].pause("mail")
        assert (await before.queues())["mail"].paused

    async with RoutedQueueService(replace(config, routes={})) as after, StoreWorkers(after):
        assert await (await after.enqueue(mail, 2)).wait(timeout=10) == 2
        assert "mail" not in await after.queues()
        assert (await after.stores["bulk"].queues())["mail"].paused


async def test_calls_of_two_stores_are_not_stored_together(service: RoutedQueueService) -> None:
    with pytest.raises(ConfigurationError, match=r"no transaction spans two databases.*separately"):
        await service.enqueue_many([add.call(1, 2), mail.call(3)])

    assert await service.count() == 0


async def test_a_predecessor_in_another_store_is_refused(service: RoutedQueueService) -> None:
    added = await service.enqueue(add, 1, 2)

    with pytest.raises(ConfigurationError, match=r"in the store 'main'.*for the store 'bulk'.*from the task"):
        await service.enqueue(mail.using(after=[added]), 3)


async def test_a_key_is_unique_in_its_store(service: RoutedQueueService) -> None:
    first = await service.enqueue(mail.using(key="one"), 1)
    second = await service.enqueue(mail.using(key="one"), 2)
    elsewhere = await service.enqueue(add.using(key="one"), 1, 2)

    assert (second.outcome, second.id) == (EnqueueOutcome.EXISTING, first.id)
    assert elsewhere.created


async def test_a_service_of_one_store_refuses_the_queues_of_others(service: RoutedQueueService) -> None:
    with pytest.raises(ConfigurationError, match=r"'mail' is in the store 'bulk'.*opened the store 'main'.*Routed"):
        await service.stores["main"].enqueue(mail, 1)
    with pytest.raises(ConfigurationError, match=r"'default' is in the store 'main'.*opened the store 'bulk'"):
        service.stores["bulk"].check([add.call(1, 2)])
    service.check([mail.call(1)])


async def test_a_plain_worker_serves_one_store(service: RoutedQueueService) -> None:
    with pytest.raises(ConfigurationError, match=r"StoreWorkers\(service\).*one of main, bulk"):
        await Worker(service).run()


async def wait_until_mailed(service: QueueService) -> None:
    async with aclosing(service.events(RecordFilter(queues=("mail",)))) as events, asyncio.timeout(30):
        await anext(events)


async def test_a_schedule_fires_in_the_store_of_its_queue_alone(service: RoutedQueueService) -> None:
    schedule(mail.call(1), name="stores.every", every=1)
    try:
        async with StoreWorkers(service):
            await wait_until_mailed(service)
        assert [state.name for state in await service.schedules()] == ["stores.every"]
        assert await service.stores["main"].schedules() == []
        assert await service.next_times("stores.every", 1)
        await service.pause_schedule("stores.every")
        assert (await service.schedules())[0].paused
        await service.resume_schedule("stores.every")
        assert await service.stores["bulk"].get((await service.run_schedule("stores.every")).id)
    finally:
        del SCHEDULES["stores.every"]
    await service.pause_schedule("stores.every")
    with pytest.raises(UnknownScheduleError):
        await service.pause_schedule("stores.never")


async def test_calls_join_a_transaction_in_the_database_of_their_store(
    postgres: PostgresServer, main_database: str, bulk_database: str
) -> None:
    bulk = PostgresConfig(dsn=bulk_database)
    config = replace(QUICK, queue_backend=PostgresConfig(dsn=main_database), stores={"bulk": bulk}, routes=MAIL)
    async with RoutedQueueService(config) as service:
        async with await AsyncConnection.connect(bulk_database) as connection:
            await connection.execute("SELECT 1")
            within = service.within(connection)
            mailed = await within.enqueue(mail, 1)
            with pytest.raises(ConfigurationError, match="no transaction spans"):
                await within.enqueue_many([mail.call(2), add.call(1, 2)])

        assert (await service.stores["bulk"].get(mailed.id)) == mailed.record
