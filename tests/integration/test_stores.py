"""Queues in several databases: routes, what asks all stores, what stays in one, and a store that cannot be used."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from psycopg import AsyncConnection

from lq_core import (
    INJECTED,
    ConfigurationError,
    EnqueueOutcome,
    QueueConfig,
    QueueService,
    RateLimit,
    RecordFilter,
    RecordNotFoundError,
    RoutedQueueService,
    StoreWorkers,
    SyncQueueService,
    TaskFailedError,
    TaskStatus,
    UnknownScheduleError,
    Worker,
    schedule,
    task,
)
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.schedules.schedule import SCHEDULES
from lq_postgres import PostgresConfig
from servers import PostgresServer

QUICK = QueueConfig(heartbeat_interval=0.1, heartbeat_timeout=5.0, poll_interval=0.2, shutdown_grace=5.0)
MAIL = {"mail": "bulk"}
SHARED = RecordFilter(queues=("default", "mail"))


@task(name="stores.add")
async def add(first: int, second: int) -> int:
    return first + second


@task(name="stores.mail", queue="mail")
async def mail(number: int) -> int:
    return number


@task(name="stores.mail_later")
async def mail_later(number: int, queue: QueueService = INJECTED) -> str:
    return str((await queue.enqueue(mail, number)).id)


@pytest.fixture(params=["memory and sqlite", "two databases of postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> QueueConfig:
    if request.param == "memory and sqlite":
        return replace(
            QUICK, queue_backend="memory", stores={"bulk": SQLiteConfig(path=tmp_path / "bulk.db")}, routes=MAIL
        )
    server: PostgresServer = request.getfixturevalue("postgres")
    main, bulk = (PostgresConfig(dsn=request.getfixturevalue(name)) for name in ("main_database", "bulk_database"))
    assert server.is_running()
    return replace(QUICK, queue_backend=main, stores={"bulk": bulk}, routes=MAIL)


@pytest.fixture
def main_database(postgres: PostgresServer) -> Iterator[str]:
    yield postgres.create_database("stores_main")
    postgres.drop_database("stores_main")


@pytest.fixture
def bulk_database(postgres: PostgresServer) -> Iterator[str]:
    yield postgres.create_database("stores_bulk")
    postgres.drop_database("stores_bulk")


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


# ---------------------------------------------------------------- what stays in one store


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


async def test_the_demand_is_that_of_the_store_that_needs_most(service: RoutedQueueService) -> None:
    for number in range(600):
        await service.enqueue(mail, number)
    await service.enqueue(add, 1, 2)

    demand = await service.demand(concurrency=1)

    assert demand.due == 601
    assert demand.workers_wanted == (await service.stores["bulk"].demand(concurrency=1)).workers_wanted > 1


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


# ---------------------------------------------------------------- forms of the service


def test_plain_code_is_routed_too(config: QueueConfig) -> None:
    with SyncQueueService(config) as queue:
        mailed = queue.enqueue(mail, 1)
        assert queue.get(mailed.id) == mailed.record
        assert queue.count() == 1
        assert isinstance(queue.call(_itself), RoutedQueueService)


async def _itself(service: QueueService) -> QueueService:
    return service


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
