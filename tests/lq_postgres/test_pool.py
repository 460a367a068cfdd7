"""A backend of its own settings opens few connections, uses them again, and gets over whatever happens to one."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import uuid4

import pytest

from lq_core import StorageError
from lq_core.contracts import a_record, opened
from lq_core.records.record import TaskStatus
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.connection import pool
from lq_postgres.connection.connections import Connections
from programs import until
from servers import PgBouncer, TcpProxy
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


async def test_waiting_longer_than_the_connect_timeout_for_a_connection_raises(connections: Connections) -> None:
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


async def test_what_was_connected_before_opening_failed_is_closed(database: Database) -> None:
    role = f"few_{uuid4().hex}"
    _ = database.server.run_sql(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2", at=database.dsn)
    few = PostgresConfig(dsn=database.dsn.replace("postgres@", f"{role}@"), min_connections=4, connect_timeout=0.5)
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


async def test_an_error_without_references_is_deleted_at_once(connections: Connections) -> None:
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


async def test_a_statement_without_a_caller_is_cancelled(connections: Connections, database: Database) -> None:
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


async def test_statements_at_the_same_time_share_a_connection_while_they_are_short(
    connections: Connections, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PATIENCE", 60)
    _ = await asyncio.gather(*(connections.fetch("SELECT 1") for _ in range(20)))

    assert database.server.run_sql(OTHERS, at=database.dsn) == "1"


async def test_callers_that_wait_for_the_first_connection_share_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PATIENCE", 60)
    connections = Connections(PostgresConfig(dsn=database.dsn, min_connections=0))
    await connections.open()

    _ = await asyncio.gather(*(connections.fetch("SELECT 1") for _ in range(20)))

    assert database.server.run_sql(OTHERS, at=database.dsn) == "1"
    await connections.close()


async def test_connections_that_are_needed_no_more_are_closed(
    connections: Connections, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "SHRINK_INTERVAL", 0.2)
    async with connections.lent(), connections.lent():
        assert connections.pool.get_size() == 2

    async def one_is_left() -> bool:
        _ = await asyncio.gather(*(connections.fetch("SELECT 1") for _ in range(4)))  # As a worker does that is idle.
        return database.server.run_sql(OTHERS, at=database.dsn) == "1"

    await until(one_is_left, what="one connection is left")


async def test_connections_that_are_busy_stay_open(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SHRINK_INTERVAL", 0.2)
    processes: set[int] = set()

    async def work() -> None:
        for _ in range(20):
            [[process, _]] = await connections.fetch("SELECT pg_backend_pid(), pg_sleep(0.04)::text")
            processes.add(process)

    _ = await asyncio.gather(work(), work())

    assert len(processes) == 2


async def test_a_caller_who_is_cancelled_while_it_gets_a_connection_keeps_none(connections: Connections) -> None:
    async with connections.lent(), connections.lent():
        waiting = [asyncio.create_task(connections.fetch("SELECT 1")) for _ in range(20)]
        await asyncio.sleep(0)
    for number in range(0, 20, 2):
        _ = waiting[number].cancel()
    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 10
    assert connections.pool.get_idle_size() == connections.pool.get_size()


@pytest.fixture
def few(database: Database) -> Iterator[PostgresConfig]:
    """A role that may have three connections."""
    role = f"few_{uuid4().hex}"
    _ = database.server.run_sql(f"CREATE ROLE {role} SUPERUSER LOGIN", at=database.dsn)
    _ = database.server.run_sql(f"ALTER ROLE {role} NOSUPERUSER CONNECTION LIMIT 3", at=database.dsn)
    _ = database.server.run_sql(f"GRANT ALL ON DATABASE {database.name} TO {role}", at=database.dsn)
    yield PostgresConfig(dsn=f"{database.dsn.replace('postgres@', f'{role}@')}?sslmode=disable", max_connections=6)
    _ = database.server.run_sql(f"DROP OWNED BY {role} CASCADE", at=database.dsn)
    _ = database.server.run_sql(f"DROP ROLE {role}", at=database.dsn)


async def test_where_the_server_refuses_more_connections_every_statement_gets_one_of_those_there_are(
    few: PostgresConfig,
) -> None:
    async with opened(PostgresQueueBackend(settings=few)) as backend:
        work = [backend.connections.fetch("SELECT pg_sleep(0.05)::text") for _ in range(50)]

        assert len(await asyncio.gather(*work)) == 50
        assert backend.connections.pool.get_size() == 3


async def test_processes_that_share_too_few_connections_wait_for_each_other(few: PostgresConfig) -> None:
    patient = replace(few, connect_timeout=60)

    async def enqueue() -> None:
        async with opened(PostgresQueueBackend(settings=patient)) as backend:
            _ = await backend.insert([a_record()])

    _ = await asyncio.gather(*(enqueue() for _ in range(50)))

    async with opened(PostgresQueueBackend(settings=few)) as backend:
        assert (await backend.statistics()).total(TaskStatus.PENDING) == 50


async def test_a_refusal_that_lasts_is_the_error(few: PostgresConfig) -> None:
    impatient = replace(few, connect_timeout=0.3)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            _ = await stack.enter_async_context(opened(PostgresQueueBackend(settings=few)))
        with pytest.raises(StorageError, match="too many connections"):
            await PostgresQueueBackend(settings=impatient).open()


async def test_where_pgbouncer_refuses_more_connections_every_statement_gets_one_of_those_there_are(
    database: Database,
) -> None:
    with PgBouncer(database.server, most_clients=3) as bouncer:
        settings = PostgresConfig(dsn=bouncer.dsn(database.name), statement_cache=False, poll_only=True)
        async with opened(PostgresQueueBackend(settings=settings)) as backend:
            work = [backend.connections.fetch("SELECT pg_sleep(0.05)::text") for _ in range(50)]

            assert len(await asyncio.gather(*work)) == 50


async def test_a_connection_whose_closing_is_cancelled_makes_room_for_another(connections: Connections) -> None:
    for _ in range(2):
        before = asyncio.all_tasks()
        with pytest.raises(LookupError):
            async with connections.lent():
                raise LookupError  # The pool does not know what it was used for, and closes it.
        for closing in asyncio.all_tasks() - before:
            _ = closing.cancel()

    assert len(await connections.fetch("SELECT 1")) == 1


async def test_a_connection_that_was_returned_to_a_caller_that_exits_is_lent_again(connections: Connections) -> None:
    own = connections.pool
    assert isinstance(own, pool.OwnPool)
    async with connections.lent(), connections.lent():
        waiting = own.take(None)
        _ = waiting.send(None)
    with pytest.raises(SystemExit):
        _ = waiting.throw(SystemExit())

    async with connections.lent(), connections.lent():
        assert own.get_size() == 2
