"""Behind PgBouncer: without prepared statements, and in transaction mode without a session, nothing is missing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any

import pytest

from lq_core.contracts import QueueBackendContract, a_claim, a_record, a_swap, a_worker, opened
from lq_core.foundation.errors import StorageError
from lq_core.queue import BaseQueueBackend
from lq_core.records.lifecycle import complete
from lq_core.records.record import TaskStatus
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers import PgBouncer, PostgresServer

asyncpg: Any = import_module("asyncpg")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """The oldest PostgreSQL here: what differs behind PgBouncer does not differ by version."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def bouncer(server: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(server) as bouncer:
        yield bouncer


@pytest.fixture(scope="module")
def name(server: PostgresServer) -> str:
    _ = server.create_database("shop")
    return "shop"


@pytest.fixture
def config(server: PostgresServer, bouncer: PgBouncer, name: str) -> PostgresConfig:
    _ = server.empty_database(name)
    return PostgresConfig(dsn=bouncer.dsn(name), statement_cache=False, poll_only=True)


class TestBehindPgBouncer(QueueBackendContract):
    @pytest.fixture
    async def queue(self, config: PostgresConfig) -> AsyncIterator[BaseQueueBackend]:
        async with opened(PostgresQueueBackend(settings=config)) as queue:
            yield queue


async def test_many_processes_share_the_connections_of_pgbouncer(config: PostgresConfig) -> None:
    backends = [PostgresQueueBackend(settings=config) for _ in range(4)]
    for backend in backends:
        await backend.open()

    async def work(backend: PostgresQueueBackend, name: str) -> int:
        await backend.register(a_worker(name))
        done = 0
        for _ in range(15):
            _ = await backend.insert([a_record() for _ in range(5)])
            claimed = await backend.claim(a_claim(name, limit=5))
            swaps = [a_swap(complete(record, result="1", at=backend.now())) for record in claimed.records]
            done += sum(await backend.swap(swaps))
        return done

    done = await asyncio.gather(*(work(backend, str(number)) for number, backend in enumerate(backends)))
    counts = (await backends[0].statistics()).counts["default"]

    assert counts.get(TaskStatus.COMPLETED) == sum(done)
    assert sum(counts.values()) == 4 * 15 * 5
    for backend in backends:
        await backend.close()


async def test_a_listener_at_the_server_itself_hears_of_work_behind_pgbouncer(
    config: PostgresConfig, server: PostgresServer, name: str
) -> None:
    listening = PostgresConfig(dsn=config.dsn, statement_cache=False, listen_dsn=server.dsn(name))
    async with opened(PostgresQueueBackend(settings=listening)) as worker:
        changes = worker.changes
        await worker.wait_for_work(changes, timeout=10)  # It listens from now on, and says so.
        changes = worker.changes
        async with opened(PostgresQueueBackend(settings=config)) as producer:
            _ = await producer.insert([a_record()])
            await worker.wait_for_work(changes, timeout=10)

            assert worker.changes > changes


async def test_who_listens_through_pgbouncer_is_told_that_it_cannot_hear(
    config: PostgresConfig, caplog: pytest.LogCaptureFixture
) -> None:
    deaf = PostgresConfig(dsn=config.dsn, statement_cache=False, probe_interval=0.2)
    with caplog.at_level("WARNING", "lq.postgres"):
        async with opened(PostgresQueueBackend(settings=deaf)) as backend, asyncio.timeout(20):
            await backend.wait_for_work(backend.changes, timeout=0.01)
            while not caplog.records:  # noqa: ASYNC110 -- a log has no event
                await asyncio.sleep(0.02)  # As above.

            assert backend.listener is not None
            assert not backend.listener.up
    assert caplog.records[0].getMessage().startswith("listener.deaf channel=")


async def test_in_session_mode_wake_ups_are_heard_through_pgbouncer(server: PostgresServer, name: str) -> None:
    with PgBouncer(server, mode="session", pool_size=20) as bouncer:
        config = PostgresConfig(dsn=bouncer.dsn(name), statement_cache=False)
        async with opened(PostgresQueueBackend(settings=config)) as worker:
            await worker.wait_for_work(worker.changes, timeout=10)  # It listens from now on, and says so.
            changes = worker.changes
            async with opened(PostgresQueueBackend(settings=config)) as producer:
                _ = await producer.insert([a_record()])
                await worker.wait_for_work(changes, timeout=10)

            assert worker.changes > changes
            assert worker.listener is not None
            assert worker.listener.up


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_pgbouncer_refuses_the_settings_of_a_session_and_the_error_says_what_to_do(
    server: PostgresServer, name: str, mode: str
) -> None:
    refused = pytest.raises(StorageError, match=r"unsupported startup parameter.*statement_cache=False")
    with PgBouncer(server, mode=mode) as bouncer, refused:
        await PostgresQueueBackend(settings=PostgresConfig(dsn=bouncer.dsn(name))).open()


async def test_timeouts_of_the_role_do_not_end_statements_behind_pgbouncer(
    config: PostgresConfig, server: PostgresServer, name: str
) -> None:
    _ = server.run_sql(f"ALTER DATABASE {name} SET statement_timeout = '100ms'")
    with PgBouncer(server) as fresh:
        settings = PostgresConfig(dsn=f"{fresh.dsn(name)}?pgbouncer=true", poll_only=True)
        async with opened(PostgresQueueBackend(settings=settings)) as backend:
            rows = await backend.connections.fetch("SELECT current_setting('lock_timeout') FROM pg_sleep(0.3)")
    _ = server.run_sql(f"ALTER DATABASE {name} RESET statement_timeout")

    assert rows[0][0] == "5s"


async def test_a_pool_of_the_application_behind_pgbouncer_keeps_its_sessions_as_they_were(
    config: PostgresConfig, server: PostgresServer, name: str
) -> None:
    """What lq set there would be set for others, since PgBouncer lends a session to the next transaction."""
    with PgBouncer(server, pool_size=3) as fresh:
        async with asyncpg.create_pool(fresh.dsn(name), min_size=1, max_size=3, statement_cache_size=0) as pool:
            backend = PostgresQueueBackend(settings=PostgresConfig(pool=pool, poll_only=True))
            async with opened(backend):
                _ = await backend.insert([a_record()])  # Its release of the connection resets the session.
                await backend.register(a_worker())
                assert len((await backend.claim(a_claim())).records) == 1
            seen = await at_the_same_time(pool, 3)

    assert config.statement_cache is False
    assert seen == {"0"}


async def at_the_same_time(pool: Any, sessions: int) -> set[str]:
    """Read a setting in so many transactions at once, which are as many sessions of the server."""
    async with AsyncExitStack() as held:
        connections = [await held.enter_async_context(pool.acquire()) for _ in range(sessions)]
        for connection in connections:
            await held.enter_async_context(connection.transaction())
        return {await connection.fetchval("SELECT current_setting('lock_timeout')") for connection in connections}
