"""A store whose database cannot be used: the calls for other stores do not touch it, and it opens when it can."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from lq_core import (
    ConfigurationError,
    QueueConfig,
    RoutedQueueService,
    StorageError,
    StoreWorkers,
    task,
)
from lq_postgres import PostgresConfig
from servers import PostgresServer, TcpProxy

QUICK = QueueConfig(heartbeat_interval=0.1, heartbeat_timeout=5.0, poll_interval=0.2, shutdown_grace=5.0)


@task(name="missing_store.add")
async def add(first: int, second: int) -> int:
    return first + second


@task(name="missing_store.mail", queue="mail")
async def mail(number: int) -> int:
    return number


@pytest.fixture
def bulk_database(postgres: PostgresServer) -> Iterator[str]:
    postgres.create_database("missing_store")
    yield "missing_store"
    postgres.drop_database("missing_store")


@pytest.fixture
async def network(postgres: PostgresServer) -> AsyncIterator[TcpProxy]:
    """The network between the service and the database of the store bulk."""
    async with TcpProxy(postgres.host, postgres.port) as network:
        yield network


@pytest.fixture
def config(postgres: PostgresServer, bulk_database: str, network: TcpProxy) -> QueueConfig:
    dsn = postgres.dsn(bulk_database, port=network.port)
    bulk = PostgresConfig(dsn=dsn, connect_timeout=1, command_timeout=1)
    return replace(QUICK, queue_backend="memory", stores={"bulk": bulk}, routes={"mail": "bulk"})


async def silence(network: TcpProxy) -> None:
    """Accept connections, and answer nothing."""
    network.resume()
    network.forget()


async def open_without_bulk(config: QueueConfig, network: TcpProxy) -> RoutedQueueService:
    await network.cut()
    return await RoutedQueueService(config).open()


@pytest.fixture
async def service(config: QueueConfig, network: TcpProxy) -> AsyncIterator[RoutedQueueService]:
    """A service whose store bulk could not be opened, and whose database does not answer."""
    service = await open_without_bulk(config, network)
    await silence(network)
    yield service
    await service.close()


async def test_a_record_of_another_store_is_read_without_the_missing_one(
    service: RoutedQueueService, network: TcpProxy
) -> None:
    added = await service.enqueue(add, 1, 2)
    tries, tasks = network.sent, asyncio.all_tasks()

    for _ in range(20):
        assert await service.get(added.id) == added.record

    assert network.sent == tries
    assert asyncio.all_tasks() <= tasks


async def test_all_callers_wait_for_one_try_to_open_a_store(service: RoutedQueueService, network: TcpProxy) -> None:
    tries = network.sent
    reads = [service.get(uuid4()) for _ in range(20)]

    async with asyncio.timeout(10):  # 20 tries would take 20 seconds.
        answers = await asyncio.gather(*reads, service.enqueue(mail, 1), return_exceptions=True)

    assert {type(answer) for answer in answers} == {StorageError}
    assert {str(answer).count("Store 'bulk': ") for answer in answers} == {1}
    assert network.sent == tries + 1


async def test_a_cancelled_caller_does_not_cancel_the_try_of_others(
    service: RoutedQueueService, network: TcpProxy
) -> None:
    one, other = asyncio.create_task(service.opened("bulk")), asyncio.create_task(service.opened("bulk"))
    await asyncio.wait([one, other], timeout=0.1)
    one.cancel()

    with pytest.raises(StorageError, match="Store 'bulk': "):
        await other
    assert one.cancelled()


async def test_reads_leave_at_most_one_read_in_a_store_that_stops_answering(
    config: QueueConfig, network: TcpProxy
) -> None:
    async with RoutedQueueService(config) as service:
        added = await service.enqueue(add, 1, 2)
        await service.enqueue(mail, 1)
        network.forget()
        tasks = asyncio.all_tasks()
        for _ in range(20):
            assert await service.get(added.id) == added.record
        assert len(asyncio.all_tasks() - tasks) <= 2  # The read, and its time limit.


async def test_a_store_that_was_down_is_opened_when_it_has_recovered(config: QueueConfig, network: TcpProxy) -> None:
    service = await open_without_bulk(config, network)
    service.check([mail.call(1)])
    with pytest.raises(StorageError, match=r"Store 'bulk': it is not open.*`await service.opened\('bulk'\)`"):
        await service.stores["bulk"].count()

    network.resume()
    assert await service.opened("bulk") is service.stores["bulk"]
    assert await service.stores["bulk"].count() == 0
    await service.close()
    with pytest.raises(ConfigurationError, match="QueueService is not open"):
        await service.stores["bulk"].count()
    with pytest.raises(ConfigurationError, match="QueueService is not open"):
        service.check([mail.call(1)])


async def test_errors_name_the_store_in_their_text(config: QueueConfig, network: TcpProxy) -> None:
    await network.cut()
    main = PostgresConfig(dsn="postgresql://127.0.0.1:1/main", connect_timeout=1)
    with pytest.raises(StorageError, match=r"^Store 'main': PostgreSQL"):
        await RoutedQueueService(replace(config, queue_backend=main)).open()
    network.resume()
    async with RoutedQueueService(config) as service:
        await network.cut()
        for failing in (service.count(), service.enqueue(mail, 1), service.get(uuid4())):
            with pytest.raises(StorageError, match=r"^Store 'bulk': (?!Store)"):
                await failing
        with pytest.raises(ConfigurationError, match=r"There is no store 'blk'. Did you mean 'bulk'\?"):
            await service.opened("blk")


async def test_workers_start_and_stop_while_a_store_connects(config: QueueConfig, network: TcpProxy) -> None:
    bulk = config.stores["bulk"]
    assert isinstance(bulk, PostgresConfig)
    config = replace(config, stores={"bulk": replace(bulk, connect_timeout=60)})
    service = await open_without_bulk(config, network)
    await silence(network)

    async with asyncio.timeout(20):
        async with StoreWorkers(service) as workers:
            assert workers.trouble == "Store 'bulk': it is not open yet."
            assert await (await service.enqueue(add, 1, 2)).wait(timeout=10) == 3
        await service.close()
