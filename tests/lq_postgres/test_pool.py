"""A backend of its own settings opens few connections, uses them again, and gets over whatever happens to one."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from lq_core import StorageError
from lq_core.testing import opened
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.connections import Connections
from programs import until
from servers import TcpProxy
from servers.fixtures import Database

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
HANG_UP = OTHERS.replace("count(*)", "pg_terminate_backend(pid)")
ASLEEP = OTHERS + " AND state = 'active' AND query LIKE '%pg_sleep%'"
SLEEP = "SELECT pg_sleep(60)"


@pytest.fixture
async def connections(database: Database) -> AsyncIterator[Connections]:
    """Those of a backend that may open two."""
    settings = PostgresConfig(dsn=database.dsn, max_connections=2, connect_timeout=0.5)
    async with opened(PostgresQueueBackend(settings=settings)) as backend:
        yield backend.connections


async def test_statements_one_after_the_other_share_one_connection(
    connections: Connections, database: Database
) -> None:
    processes = {(await connections.fetch("SELECT pg_backend_pid()"))[0][0] for _ in range(10)}

    assert len(processes) == 1
    assert database.server.run_sql(OTHERS, at=database.dsn) == "1"


async def test_who_waits_longer_than_the_connect_timeout_for_a_connection_is_told(connections: Connections) -> None:
    async with connections.lent(), connections.lent():
        with pytest.raises(StorageError, match="is the pool large enough"):
            _ = await connections.fetch("SELECT 1")

    assert len(await connections.fetch("SELECT 1")) == 1


async def test_a_connection_that_has_ended_is_replaced(connections: Connections, database: Database) -> None:
    async with connections.lent() as first, connections.lent() as second:
        ended = [asyncio.Event(), asyncio.Event()]
        first.add_termination_listener(lambda _: ended[0].set())
        second.add_termination_listener(lambda _: ended[1].set())
        _ = database.server.run_sql(HANG_UP, at=database.dsn)
        async with asyncio.timeout(10):
            _ = await asyncio.gather(*(one.wait() for one in ended))

    assert len(await connections.fetch("SELECT 1")) == 1
    assert connections.pool.get_size() == 1


async def test_a_connection_that_leads_nowhere_takes_the_idle_ones_with_it(database: Database) -> None:
    async with TcpProxy(database.server.host, database.server.port) as proxy:
        dsn = database.server.dsn(database.name, port=proxy.port)
        settings = PostgresConfig(dsn=dsn, command_timeout=1, poll_only=True)
        async with opened(PostgresQueueBackend(settings=settings)) as backend:
            connections = backend.connections
            async with connections.lent(), connections.lent(), connections.lent():
                proxy.forget()
            proxy.resume()
            with pytest.raises(StorageError, match="did not answer in time"):
                _ = await connections.fetch("SELECT 1")

            assert len(await connections.fetch("SELECT 1")) == 1


async def test_what_was_connected_before_opening_failed_is_let_go(database: Database) -> None:
    role = f"few_{uuid4().hex}"
    _ = database.server.run_sql(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2", at=database.dsn)
    few = PostgresConfig(dsn=database.dsn.replace("postgres@", f"{role}@"), min_connections=4)
    gc.disable()  # It would find what nobody has closed.
    try:
        with pytest.raises(StorageError, match="too many connections"):
            await Connections(few).open()

        async def all_gone() -> bool:
            return database.server.run_sql(OTHERS, at=database.dsn) == "0"

        await until(all_gone, what="no connection is left")
    finally:
        gc.enable()
        _ = database.server.run_sql(f"DROP ROLE {role}", at=database.dsn)


async def test_an_error_is_gone_at_once_when_nobody_has_it_any_more(connections: Connections) -> None:
    async def failed() -> weakref.ref[StorageError]:
        try:
            _ = await connections.fetch("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(5)")
        except StorageError as error:
            return weakref.ref(error)
        raise AssertionError("It did not fail.")

    gc.disable()  # It would find what holds itself.
    try:
        assert (await failed())() is None
    finally:
        gc.enable()


async def test_a_statement_that_nobody_waits_for_any_more_is_ended(
    connections: Connections, database: Database
) -> None:
    sleeping = [asyncio.create_task(connections.fetch(SLEEP)) for _ in range(2)]

    async def number_asleep(number: str) -> bool:
        return database.server.run_sql(ASLEEP, at=database.dsn) == number

    await until(lambda: number_asleep("2"), what="both statements run")

    for one in sleeping:
        _ = one.cancel()
    _ = await asyncio.wait(sleeping)

    assert len(await connections.fetch("SELECT 1")) == 1
    await until(lambda: number_asleep("0"), what="neither statement runs")


async def test_a_statement_that_the_server_refuses_costs_no_connection(
    connections: Connections, database: Database
) -> None:
    with pytest.raises(ValueError, match="division by zero"):
        _ = await connections.fetch("SELECT 1 / 0")

    assert len(await connections.fetch("SELECT 1")) == 1
    assert database.server.run_sql(OTHERS, at=database.dsn) == "1"


async def test_what_reads_the_whole_table_may_take_longer_than_others(database: Database) -> None:
    settings = PostgresConfig(dsn=database.dsn, command_timeout=0.3, poll_only=True)
    async with opened(PostgresQueueBackend(settings=settings)) as backend:
        with pytest.raises(StorageError, match="did not answer in time"):
            _ = await backend.connections.fetch("SELECT pg_sleep(1)")

        assert len(await backend.connections.read_whole("SELECT pg_sleep(1)")) == 1


async def test_nothing_of_a_cancelled_statement_is_left_when_the_pool_is_closed(database: Database) -> None:
    connections = Connections(PostgresConfig(dsn=database.dsn))
    await connections.open()
    before = asyncio.all_tasks()
    sleeping = asyncio.create_task(connections.fetch(SLEEP))

    async def is_asleep() -> bool:
        return await asyncio.to_thread(database.server.run_sql, ASLEEP, at=database.dsn) == "1"

    await until(is_asleep, what="the statement runs")
    _ = sleeping.cancel()
    _ = await asyncio.wait([sleeping])
    await connections.close()

    assert asyncio.all_tasks() == before
