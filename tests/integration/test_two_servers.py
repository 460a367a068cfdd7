"""Queues on two servers, one of which is down: only its own queues wait for it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lq_core import QueueConfig, RoutedQueueService, StorageError, StoreWorkers, task
from lq_postgres import PostgresConfig
from servers import PostgresServer

QUICK = QueueConfig(heartbeat_interval=0.1, heartbeat_timeout=5.0, poll_interval=0.2, shutdown_grace=5.0)


@task(name="two_servers.add")
async def add(first: int, second: int) -> int:
    return first + second


@task(name="two_servers.mail", queue="mail")
async def mail(number: int) -> int:
    return number


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


async def test_a_server_that_is_down_stops_only_its_own_queues(
    postgres: PostgresServer, own_postgres_server: PostgresServer
) -> None:
    bulk = own_postgres_server
    main_database = postgres.create_database("two_servers")
    config = replace(
        QUICK,
        queue_backend=PostgresConfig(dsn=main_database),
        stores={"bulk": PostgresConfig(dsn=bulk.dsn())},
        routes={"mail": "bulk"},
    )
    bulk.stop()
    async with RoutedQueueService(config) as service, StoreWorkers(service) as workers:
        assert await (await service.enqueue(add, 1, 2)).wait(timeout=10) == 3
        with pytest.raises(StorageError) as failure:
            await service.enqueue(mail, 1)
        assert str(failure.value).startswith("Store 'bulk': PostgreSQL: ")
        assert str(workers.trouble).startswith("Store 'bulk': ")

        bulk.start()
        assert await (await service.enqueue(mail, 2)).wait(timeout=30) == 2

        bulk.crash()
        added = await service.enqueue(add, 3, 4)
        assert await added.wait(timeout=10) == 7
        assert (await service.get(added.id)) == added.record
        with pytest.raises(StorageError):
            await service.count()

        bulk.start()
        assert await (await service.enqueue(mail, 5)).wait(timeout=30) == 5


async def test_a_service_does_not_open_if_no_store_can_be_used(own_postgres_server: PostgresServer) -> None:
    main, bulk = (PostgresConfig(dsn=own_postgres_server.create_database(name)) for name in ("main", "bulk"))
    own_postgres_server.stop()

    with pytest.raises(StorageError):
        await RoutedQueueService(replace(QUICK, queue_backend=main, stores={"bulk": bulk})).open()


async def test_reads_by_id_keep_the_connections_of_the_other_stores(postgres: PostgresServer) -> None:
    main, bulk = (PostgresConfig(dsn=postgres.create_database(f"by_id_{name}")) for name in ("main", "bulk"))
    config = replace(QUICK, queue_backend=main, stores={"bulk": bulk}, routes={"mail": "bulk"})
    sessions = "SELECT count(DISTINCT pid), min(backend_start) FROM pg_stat_activity WHERE datname = 'by_id_bulk'"
    async with RoutedQueueService(config) as service:
        added = await service.enqueue(add, 1, 2)
        await service.get(added.id)
        before = postgres.run_sql(sessions)
        for _ in range(50):
            assert await service.get(added.id) == added.record
        await service.stores["bulk"].count()

        assert postgres.run_sql(sessions) == before
