"""With several stores, a step of one record happens in its store; predecessors and workers of one store stay there."""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from lq_core import (
    INJECTED,
    ConfigurationError,
    QueueConfig,
    QueueService,
    RecordNotFoundError,
    RoutedQueueService,
    TaskFailedError,
    TaskStatus,
    Worker,
    task,
)
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.records import lifecycle
from lq_postgres import PostgresConfig
from servers import PostgresServer

QUICK = QueueConfig(heartbeat_interval=0.1, heartbeat_timeout=5.0, poll_interval=0.2, shutdown_grace=5.0)
MAIL = {"mail": "bulk"}


@task(name="stores_and_records.add")
async def add(first: int, second: int) -> int:
    return first + second


@task(name="stores_and_records.mail", queue="mail")
async def mail(number: int) -> int:
    return number


@task(name="stores_and_records.add_later", queue="mail", retries=0)
async def add_later(queue: QueueService = INJECTED) -> None:
    await queue.enqueue(add, 1, 2)


@pytest.fixture
def config(tmp_path: Path) -> QueueConfig:
    main, bulk = (SQLiteConfig(path=tmp_path / f"{name}.db") for name in ("main", "bulk"))
    return replace(QUICK, queue_backend=main, stores={"bulk": bulk}, routes=MAIL)


@pytest.fixture
async def service(config: QueueConfig) -> AsyncIterator[RoutedQueueService]:
    async with RoutedQueueService(config) as service:
        yield service


async def test_a_record_is_run_and_changed_in_its_store(config: QueueConfig, caplog: pytest.LogCaptureFixture) -> None:
    async with RoutedQueueService(config) as service:
        mailed, added = await service.enqueue(mail, 3), await service.enqueue(add, 1, 2)
        assert (await service.execute_record(mailed.record)).status is TaskStatus.COMPLETED
        cancelled = lifecycle.cancel(added.record, at=datetime.now(UTC))
        assert await service.swap(added.record, cancelled)
        assert not await service.swap(added.record, cancelled)
        made = service.record_of(mail.call(1), at=datetime.now(UTC))
        assert made.queue == "mail"
        assert not await service.swap(made, made)
        with pytest.raises(RecordNotFoundError):
            await service.execute_record(made)
        assert (await service.stores["bulk"].find())[0].status is TaskStatus.COMPLETED
        assert (await service.stores["main"].find())[0].status is TaskStatus.CANCELLED

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    async with RoutedQueueService(config) as service:
        assert await service.workers() == []


async def test_a_presence_is_made_for_one_store(service: RoutedQueueService) -> None:
    with pytest.raises(
        ConfigurationError, match=r"service.stores\[name\].new_presence\(\), with name one of main, bulk"
    ):
        service.new_presence()
    await service.stores["bulk"].new_presence().start()

    assert len(await service.stores["bulk"].workers()) == 1


async def test_what_has_ended_is_counted_over_all_stores(service: RoutedQueueService) -> None:
    for sent in (await service.enqueue(mail, 3), await service.enqueue(add, 1, 2), await service.enqueue(add, 3, 4)):
        await service.execute_record(sent.record)

    both, mailed = await service.rollups(), await service.rollups(queue="mail")

    assert sum(each.count(TaskStatus.COMPLETED) for each in both) == 3
    assert sum(each.count(TaskStatus.COMPLETED) for each in mailed) == 1


async def test_the_changes_by_people_in_all_stores_come_newest_first(service: RoutedQueueService) -> None:
    await service.note_action("pause queue", "mail", actor="ada")
    await service.stores["bulk"].note_action("resume queue", "mail", actor="ben")

    assert [each.actor for each in await service.actions()] == ["ben", "ada"]
    assert [each.actor for each in await service.actions(limit=1)] == ["ben"]


async def test_each_store_says_once_that_it_is_open(config: QueueConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lq"):
        async with RoutedQueueService(config) as service:
            backends = await service.execution_backends()
            assert {"local", "immediate"} <= backends.keys()
            assert await service.execution_backend("local") is backends["local"]

    events = [record.getMessage() for record in caplog.records]
    assert sum(event.startswith("service.opened") for event in events) == 2
    left_out = [event for event in events if event.startswith("execution_backend.left_out")]
    assert len(left_out) == len(set(left_out))


# ---------------------------------------------------------------- predecessors


async def test_a_predecessor_from_before_a_move_is_explained(config: QueueConfig) -> None:
    async with RoutedQueueService(config) as before:
        old = await before.enqueue(mail, 1)

    async with RoutedQueueService(replace(config, routes={})) as after:
        with pytest.raises(ConfigurationError, match=r"'mail' was moved there.*still in the old store") as failure:
            await after.enqueue(mail.using(after=[old]), 2)
    assert "route both queues" not in str(failure.value)


async def test_a_predecessor_in_another_store_is_refused_within_a_transaction(postgres: PostgresServer) -> None:
    dsn = postgres.create_database("within_stores")
    config = replace(QUICK, queue_backend="memory", stores={"bulk": PostgresConfig(dsn=dsn)}, routes=MAIL)
    try:
        async with RoutedQueueService(config) as service, await AsyncConnection.connect(dsn) as connection:
            added = await service.enqueue(add, 1, 2)
            await connection.execute("SELECT 1")
            with pytest.raises(ConfigurationError, match=r"in the store 'main'.*for the store 'bulk'.*from the task"):
                await service.within(connection).enqueue(mail.using(after=[added]), 3)
    finally:
        postgres.drop_database("within_stores")


# ---------------------------------------------------------------- a worker of one store


async def test_a_task_in_a_worker_of_one_store_says_how_to_run_the_worker(config: QueueConfig) -> None:
    async with QueueService(config.of_store("bulk")) as bulk, Worker(bulk):
        begun = await bulk.enqueue(add_later)
        with pytest.raises(TaskFailedError, match=r"'default' is in the store 'main'.*run the worker with that"):
            await begun.wait(timeout=10)
