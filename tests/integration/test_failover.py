"""A standby takes over while records run: with real servers, and a proxy in place of the name that moves."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any

import pytest

from lq_core import QueueConfig, QueueService, StorageError, TaskStatus, Worker, task
from lq_postgres import PostgresConfig, PostgresQueueBackend
from programs import until
from servers import PostgresServer, TcpProxy

asyncpg: Any = import_module("asyncpg")

JOBS = 200


@task(name="failover.square")
async def square(number: int) -> int:
    """Take a moment, so that the failover finds some running."""
    await asyncio.sleep(0.02)  # This is the work, and not a wait for anything.
    return number * number


@pytest.fixture
async def primary() -> AsyncIterator[PostgresServer]:
    """A server with the database shop."""
    with PostgresServer() as server:
        _ = server.create_database("shop")
        yield server


@pytest.fixture
async def standby(primary: PostgresServer) -> AsyncIterator[PostgresServer]:
    """A hot standby of the primary, which has all that was committed."""
    with primary.standby() as server:
        yield server


@pytest.fixture
async def name(primary: PostgresServer) -> AsyncIterator[TcpProxy]:
    """The name of the database, which leads to the primary at first."""
    async with TcpProxy(primary.host, primary.port) as proxy:
        yield proxy


Service = AbstractAsyncContextManager[tuple[QueueService, PostgresQueueBackend]]


@asynccontextmanager
async def a_service(dsn: str, *, pool: Any = None) -> AsyncGenerator[tuple[QueueService, PostgresQueueBackend]]:
    config = PostgresConfig(dsn=dsn, pool=pool, command_timeout=5, connect_timeout=5, probe_interval=0.2)
    async with QueueService(QueueConfig(queue_backend=config, poll_interval=0.2, heartbeat_interval=0.5)) as service:
        backend = service.queue_backend
        assert isinstance(backend, PostgresQueueBackend)
        yield service, backend


@asynccontextmanager
async def a_service_on_a_pool(dsn: str) -> AsyncGenerator[tuple[QueueService, PostgresQueueBackend]]:
    """Its application has a pool."""
    async with asyncpg.create_pool(dsn, min_size=2, max_size=4) as pool, a_service(dsn, pool=pool) as made:
        yield made


@pytest.mark.parametrize("a_service", [a_service, a_service_on_a_pool])
async def test_a_standby_is_promoted_and_the_name_moves_while_a_worker_drains(
    primary: PostgresServer, standby: PostgresServer, name: TcpProxy, a_service: Callable[[str], Service]
) -> None:
    async with a_service(primary.dsn("shop", port=name.port)) as (service, backend), Worker(service):
        sent = await service.enqueue_many(square.call(number) for number in range(JOBS))
        _ = await sent[20].wait(timeout=30)
        await asyncio.to_thread(primary.refuse_writes)
        await asyncio.to_thread(standby.promote)
        name.lead_to(standby.host, standby.port)
        later = await service.enqueue(square, 7)
        results = await asyncio.gather(*(one.wait(timeout=30) for one in (*sent, later)))
        records = await backend.get_many([one.id for one in sent])

        async def hears_of_the_new_server() -> bool:
            listening = await asyncio.to_thread(standby.run_sql, LISTENING)
            return listening == "1" and backend.listener is not None and backend.listener.up

        await until(hears_of_the_new_server, what="the worker listens to the new primary")

    assert results == [*(number * number for number in range(JOBS)), 49]
    assert {(record.status, record.retry_count, record.losses) for record in records} == {(TaskStatus.COMPLETED, 0, 0)}


# The listener asks this regularly.
LISTENING = (
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%transaction_read_only%' AND pid <> pg_backend_pid()"
)


async def test_a_pool_that_met_a_standby_writes_as_soon_as_the_name_leads_to_the_primary(
    primary: PostgresServer, standby: PostgresServer, name: TcpProxy
) -> None:
    async with a_service(primary.dsn("shop", port=name.port)) as (service, backend):
        name.lead_to(standby.host, standby.port)
        await name.cut()
        name.resume()
        with pytest.raises(StorageError, match="address of the primary"):
            _ = await service.enqueue(square, 1)
        async with backend.connections.lent(), backend.connections.lent():
            name.lead_to(primary.host, primary.port)

        assert (await service.enqueue(square, 2)).created


async def test_of_several_hosts_the_one_that_can_be_written_to_is_used(
    primary: PostgresServer, standby: PostgresServer
) -> None:
    hosts = f"{standby.host}:{standby.port},{primary.host}:{primary.port}"
    dsn = f"postgresql://postgres@{hosts}/shop?target_session_attrs=read-write"
    async with a_service(dsn) as (service, _), Worker(service):
        first = await service.enqueue(square, 2)
        assert await first.wait(timeout=30) == 4
        await asyncio.to_thread(primary.kill)
        await asyncio.to_thread(standby.promote)

        async def enqueued() -> bool:
            try:
                _ = await service.enqueue(square.using(key="second"), 3)
            except StorageError:
                return False
            return True

        await until(enqueued, what="the new primary has the record")
        second = await service.enqueue(square.using(key="second"), 3)

        assert await second.wait(timeout=30) == 9
