"""A pool that belongs to the application: used, never closed, and left as it was."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest

from lq_core import ConfigurationError, QueueConfig, QueueService, RecordFilter, StorageError, Worker, task
from lq_core.contracts import a_claim, a_record, a_swap, a_worker, opened
from lq_core.records.lifecycle import complete
from lq_core.records.record import Dependencies
from lq_postgres import PostgresConfig, PostgresQueueBackend
from programs import until
from servers.fixtures import Database

asyncpg: Any = import_module("asyncpg")

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@task(name="own_pool.echo")
async def echo(name: str) -> str:
    return name


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(database.dsn, min_size=1, max_size=4, init=set_codecs) as pool:
        yield pool


async def set_codecs(connection: Any) -> None:
    """As many applications do."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def test_records_live_and_end_by_the_pool_of_the_application(pool: Any) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool))) as backend:
        await backend.register(a_worker())
        _ = await backend.insert([a_record(key="once")])
        [record] = (await backend.claim(a_claim())).records
        kept = await backend.swap([a_swap(complete(record, result="1", at=backend.now()))])

    assert kept == [True]
    assert backend.address == "an application's pool (schema lq)"
    assert await pool.fetchval("SELECT count(*) FROM lq.records WHERE status = 'completed'") == 1


async def test_what_comes_after_another_waits_for_it(pool: Any) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool))) as backend:
        first, other = a_record(), a_record(queue="mail")
        later = a_record(after=Dependencies(ids=(first.id, other.id)), blocked=True)
        _ = await backend.insert([first, other, later])

        assert await backend.get(later.id) == later
        assert (await backend.unblocked(limit=10)).records == []


async def test_wake_ups_are_heard_beside_the_pool(pool: Any, database: Database) -> None:
    producer = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))
    async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool))) as backend, opened(producer):
        await backend.wait_for_work(backend.changes, timeout=10)  # It listens from now on, and says so.
        changes = backend.changes
        _ = await producer.insert([a_record()])
        await backend.wait_for_work(changes, timeout=10)

        assert backend.changes > changes
        assert {finding.advice for finding in await backend.diagnose()} == {
            None,
            "Start a worker: lq worker module:config",
        }


async def test_the_pool_is_left_open_and_as_it_was(pool: Any) -> None:
    backend = PostgresQueueBackend(settings=PostgresConfig(pool=pool))
    async with opened(backend):
        await backend.wait_for_work(backend.changes, timeout=10)  # It listens from now on, and says so.
    async with opened(backend):
        _ = await backend.insert([a_record()])

    assert await pool.fetchval("SELECT count(*) FROM pg_listening_channels()") == 0
    assert await pool.fetchval("SHOW enable_seqscan") == "on"
    assert not pool.is_closing()


@asynccontextmanager
async def exhausted(pool: Any) -> AsyncGenerator[None]:
    """The application uses all connections of its pool."""
    async with AsyncExitStack() as used:
        for _ in range(pool.get_max_size()):
            _ = await used.enter_async_context(pool.acquire())
        yield


async def test_a_worker_lives_and_works_while_the_application_uses_its_whole_pool(
    pool: Any, database: Database
) -> None:
    lent = QueueConfig(
        queue_backend=PostgresConfig(pool=pool, connect_timeout=0.5),
        poll_interval=0.1,
        heartbeat_interval=0.1,
        heartbeat_timeout=1.0,
    )
    outside = QueueConfig(queue_backend=PostgresConfig(dsn=database.dsn))
    async with QueueService(lent) as service, QueueService(outside) as other, Worker(service), exhausted(pool):
        [before] = await other.workers()

        async def has_beaten_often() -> bool:
            [now] = await other.workers()
            return (now.id, now.seen_at > before.seen_at + timedelta(seconds=2)) == (before.id, True)

        sent = await other.enqueue(echo, "ada")
        assert await sent.wait(timeout=30) == "ada"
        await until(has_beaten_often, what="the worker has stored many heartbeats")
        with pytest.raises(StorageError, match="is the pool large enough"):
            _ = await service.enqueue(echo, "bob")

    assert (sent.record.attempt, sent.record.losses) == (1, 0)


async def test_what_the_application_calls_runs_on_its_pool(pool: Any, database: Database) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool))) as backend:
        _ = await backend.insert([a_record()])

        assert len(await backend.find(RecordFilter())) == 1
    assert database.server.run_sql(OTHERS, at=database.dsn) == str(pool.get_size())


async def test_a_pool_whose_connections_read_types_in_their_own_way_does_no_harm(database: Database) -> None:
    async with asyncpg.create_pool(database.dsn, min_size=1, init=change_types) as pool:
        service = QueueService(QueueConfig(queue_backend=PostgresConfig(pool=pool), poll_interval=0.1))
        async with service, Worker(service):
            sent = await service.enqueue(echo.using(key="once"), "ada")

            assert await sent.wait(timeout=30) == "ada"
            assert [record.id for record in await service.find()] == [sent.id]


async def change_types(connection: Any) -> None:
    for name in ("uuid", "timestamptz", "numeric"):
        await connection.set_type_codec(name, encoder=str, decoder="<{}>".format, schema="pg_catalog")


async def test_a_pool_that_was_not_opened_is_opened(database: Database) -> None:
    pool = asyncpg.create_pool(database.dsn, min_size=1)
    async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool))) as backend:
        _ = await backend.insert([a_record()])
    assert await pool.fetchval("SELECT count(*) FROM lq.records") == 1
    await pool.close()


async def test_a_pool_that_is_no_pool_of_asyncpg_is_refused(pool: Any) -> None:
    class Wrapped:
        """As the pool of a library around asyncpg."""

        acquire, get_size, get_idle_size, get_max_size = (
            pool.acquire,
            pool.get_size,
            pool.get_idle_size,
            pool.get_max_size,
        )

    with pytest.raises(ConfigurationError, match=r"cannot open connections as .*Wrapped does"):
        _ = PostgresQueueBackend(settings=PostgresConfig(pool=Wrapped()))


async def test_a_task_that_blocks_the_event_loop_keeps_its_worker_alive_beside_a_lent_pool(pool: Any) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool))) as backend:
        await backend.register(worker := a_worker())

        assert await asyncio.to_thread(backend.beat_from_thread, worker.id)
