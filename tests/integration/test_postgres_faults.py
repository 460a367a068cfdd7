"""Whatever happens to PostgreSQL, nothing is lost, nothing is recorded twice, and work goes on by itself."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from lq_core import BaseQueueBackend, QueueConfig, QueueService, StorageError, TaskResult, TaskStatus, Worker, task
from lq_core.contracts import opened
from lq_postgres import PostgresConfig, PostgresQueueBackend
from programs import running, until
from servers import PostgresServer, TcpProxy

asyncpg: Any = import_module("asyncpg")

JOBS = 300
HANG_UP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'shop'"


@task(name="faults.square")
async def square(number: int) -> int:
    """Take a moment, so that a fault finds some running."""
    await asyncio.sleep(0.02)  # This is the work, and not a wait for anything.
    return number * number


WORKER = """
import asyncio, sys
from lq_core import QueueService, Worker
import test_postgres_faults as faults

async def main():
    async with QueueService(faults.a_config(sys.argv[1], heartbeat_timeout=1.0)) as service, Worker(service):
        await asyncio.Event().wait()

asyncio.run(main())
"""


FOUND = {"PYTHONPATH": os.pathsep.join(sys.path)}


@task(name="faults.linger")
async def linger(place: str) -> int:
    """Leave a file that says that it has begun; in the first process, wait to be stopped."""
    if mark(Path(place)):
        await asyncio.Event().wait()
    return os.getpid()


def mark(file: Path) -> bool:
    is_first = not file.exists()
    file.touch()
    return is_first


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """A server that keeps what it has committed, also when it crashes."""
    with PostgresServer(durable=True) as server:
        yield server


@pytest.fixture
def dsn(own_postgres_server: PostgresServer) -> str:
    return own_postgres_server.create_database("shop")


def a_config(dsn: str, **more: object) -> QueueConfig:
    config = PostgresConfig(dsn=dsn, command_timeout=2, connect_timeout=2, probe_interval=0.5)
    return replace(QueueConfig(queue_backend=config, poll_interval=0.2, heartbeat_interval=0.5), **more)


@asynccontextmanager
async def at_work(config: QueueConfig) -> AsyncGenerator[tuple[QueueService, list[TaskResult[int]]]]:
    """A worker in the middle of many records; all have completed, each once, before this ends."""
    async with QueueService(config) as service:
        sent = await service.enqueue_many(square.call(number) for number in range(JOBS))
        async with Worker(service):
            _ = await sent[20].wait(timeout=30)
            yield service, sent
            backend = service.queue_backend
            await until(lambda: all_completed(backend), what="every record completed")
            records = await backend.get_many([one.id for one in sent])
            statistics = await backend.statistics()
    assert statistics.counts == {"default": {TaskStatus.COMPLETED: JOBS}}
    assert {record.result for record in records} == {str(number * number) for number in range(JOBS)}
    assert max(record.attempt for record in records) <= 2
    assert max(record.retry_count for record in records) == 0


async def all_completed(backend: BaseQueueBackend) -> bool:
    try:
        return (await backend.statistics()).total(TaskStatus.COMPLETED) == JOBS
    except StorageError:
        return False


@pytest.mark.parametrize("end", [PostgresServer.stop, PostgresServer.crash, PostgresServer.kill])
async def test_a_restart_of_the_server(
    own_postgres_server: PostgresServer, dsn: str, end: Callable[[PostgresServer], None]
) -> None:
    async with at_work(a_config(dsn)):
        await asyncio.to_thread(end, own_postgres_server)
        await asyncio.to_thread(own_postgres_server.start)


async def test_every_connection_is_terminated_again_and_again(own_postgres_server: PostgresServer, dsn: str) -> None:
    async with at_work(a_config(dsn)) as (_, sent):
        for number in (40, 80, 120):
            _ = await asyncio.to_thread(own_postgres_server.run_sql, HANG_UP)
            _ = await sent[number].wait(timeout=30)


async def test_the_network_is_cut(own_postgres_server: PostgresServer, dsn: str) -> None:
    async with (
        TcpProxy(own_postgres_server.host, own_postgres_server.port) as proxy,
        at_work(a_config(own_postgres_server.dsn("shop", port=proxy.port))) as (service, _),
    ):
        await proxy.cut()
        with pytest.raises(StorageError):
            _ = await service.statistics()
        proxy.resume()


async def test_connections_that_lead_nowhere_without_a_word(own_postgres_server: PostgresServer, dsn: str) -> None:
    async with (
        TcpProxy(own_postgres_server.host, own_postgres_server.port) as proxy,
        at_work(a_config(own_postgres_server.dsn("shop", port=proxy.port))) as (service, _),
    ):
        proxy.forget()
        with pytest.raises(StorageError, match="did not answer in time"):
            _ = await service.statistics()
        proxy.resume()


async def test_connections_of_a_lent_pool_that_lead_nowhere(own_postgres_server: PostgresServer, dsn: str) -> None:
    async with (
        TcpProxy(own_postgres_server.host, own_postgres_server.port) as proxy,
        asyncpg.create_pool(own_postgres_server.dsn("shop", port=proxy.port), min_size=1, max_size=6) as pool,
    ):
        lent = PostgresConfig(pool=pool, command_timeout=1, connect_timeout=1, probe_interval=0.5)
        async with at_work(a_config(dsn, queue_backend=lent)) as (service, _):
            proxy.forget()
            with pytest.raises(StorageError, match="did not answer in time"):
                _ = await service.statistics()
            proxy.resume()
        pool.terminate()


async def test_many_callers_share_few_connections(dsn: str) -> None:
    config = a_config(dsn)
    few = PostgresConfig(dsn=dsn, max_connections=2)
    async with QueueService(config) as service, QueueService(a_config(dsn, queue_backend=few)) as crowded:
        sent = await asyncio.gather(*(crowded.enqueue(square, number) for number in range(100)))
        found = await asyncio.gather(*(crowded.get(one.id) for one in sent for _ in range(3)))
        async with Worker(service):
            results = await asyncio.gather(*(one.wait(timeout=30) for one in sent))

    assert None not in found
    assert results == [number * number for number in range(100)]


async def test_a_server_that_takes_no_more_connections_says_so(own_postgres_server: PostgresServer, dsn: str) -> None:
    _ = own_postgres_server.run_sql("ALTER DATABASE shop CONNECTION LIMIT 1")
    _ = own_postgres_server.run_sql("CREATE ROLE clerk LOGIN")
    _ = own_postgres_server.run_sql("GRANT ALL ON DATABASE shop TO clerk")
    backends = [PostgresQueueBackend(settings=PostgresConfig(dsn=dsn.replace("postgres@", "clerk@"))) for _ in range(2)]
    await backends[0].open()
    with pytest.raises(StorageError, match="max_connections"):
        await backends[1].open()
    for backend in backends:
        await backend.close()


async def test_a_statement_that_takes_too_long_is_given_up(own_postgres_server: PostgresServer, dsn: str) -> None:
    async with at_work(a_config(dsn)) as (service, _):
        holder = PostgresQueueBackend(settings=PostgresConfig(dsn=dsn, poll_only=True))
        await holder.open()
        async with holder.connections.lent() as connection, connection.transaction():
            _ = await connection.execute("LOCK TABLE lq.records")
            with pytest.raises(StorageError):
                _ = await service.enqueue(square, 1)
        await holder.close()


async def test_a_statement_that_waits_too_long_is_tried_again(own_postgres_server: PostgresServer, dsn: str) -> None:
    _ = own_postgres_server.run_sql("ALTER DATABASE shop SET statement_timeout = '1s'")
    async with at_work(a_config(dsn)) as (service, _):
        holder = PostgresQueueBackend(settings=PostgresConfig(dsn=dsn, poll_only=True))
        async with opened(holder), holder.connections.lent() as connection, connection.transaction():
            _ = await connection.execute("LOCK TABLE lq.records")
            with pytest.raises(StorageError, match="did not answer in time"):
                _ = await service.enqueue(square, 1)


async def test_a_pool_that_is_exhausted_in_the_middle_of_work(dsn: str) -> None:
    few = PostgresConfig(dsn=dsn, max_connections=2, connect_timeout=0.5, command_timeout=2)
    async with at_work(a_config(dsn, queue_backend=few)) as (service, _):
        assert isinstance(service.queue_backend, PostgresQueueBackend)
        lent = service.queue_backend.connections.lent
        async with lent(), lent():
            with pytest.raises(StorageError, match="is the pool large enough"):
                _ = await service.statistics()


async def test_a_full_disk_refuses_what_is_new_and_loses_nothing(own_postgres_server: PostgresServer, dsn: str) -> None:
    async with at_work(a_config(dsn)) as (service, _):
        disk = FullDisk(own_postgres_server, dsn)
        await asyncio.to_thread(disk.fill)
        with pytest.raises(StorageError, match="Free space"):
            _ = await service.enqueue(square, 1)
        await asyncio.to_thread(disk.make_room)


class FullDisk:
    """
    Refuses inserts with the code of a full disk.

    Its statements wait for the worker's transactions, and so must not be run in the worker's event loop.
    """

    def __init__(self, server: PostgresServer, dsn: str) -> None:
        self.server = server
        self.dsn = dsn

    def fill(self) -> None:
        body = "BEGIN RAISE 'full' USING ERRCODE = '53100'; END"
        self._run(f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        self._run("CREATE TRIGGER full_disk BEFORE INSERT ON lq.records EXECUTE FUNCTION full_disk()")

    def make_room(self) -> None:
        self._run("DROP TRIGGER full_disk ON lq.records")

    def _run(self, statement: str) -> None:
        _ = self.server.run_sql(statement, at=self.dsn)


async def test_a_worker_that_sleeps_past_its_heartbeat_loses_its_records(dsn: str, tmp_path: Path) -> None:
    place = tmp_path / "place"

    async def begun() -> bool:
        return place.exists()

    async def declared_dead() -> bool:
        return {worker.id for worker in await service.workers()}.isdisjoint(before) and bool(await service.workers())

    async with (
        QueueService(a_config(dsn, heartbeat_timeout=1.0)) as service,
        running(sys.executable, "-c", WORKER, dsn, folder=Path(__file__).parent, **FOUND) as sleeper,
    ):
        sent = await service.enqueue(linger, str(place))
        await until(begun, what="the task began")
        before = {worker.id for worker in await service.workers()}
        sleeper.send(signal.SIGSTOP)
        async with Worker(service):
            assert await sent.wait(timeout=30) == os.getpid()
        settled = await service.get(sent.id)
        sleeper.send(signal.SIGCONT)
        await until(declared_dead, what="the sleeper went on under a new name")

        assert await service.get(sent.id) == settled
    assert (sent.record.attempt, sent.record.losses, sent.record.retry_count) == (2, 1, 0)
