"""How connections are opened: by the addresses of providers, with passwords that change, and by connectors."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lq_core.contracts import a_claim, a_record, a_worker, opened
from lq_core.foundation.errors import ConfigurationError, StorageError
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.connection.session import timeouts
from servers import PostgresServer
from servers.fixtures import Database

asyncpg: Any = import_module("asyncpg")

NAMES = """
SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
PROCESSES = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'lq' ORDER BY pid
"""
HANG_UP = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{}'"
BY_PASSWORD = "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


@pytest.fixture(scope="module")
def locked_server() -> Iterator[PostgresServer]:
    """A server of the oldest version that asks every role but the superuser for its password."""
    with PostgresServer() as server:
        (server.directory / "data/pg_hba.conf").write_text(BY_PASSWORD)
        _ = server.run_sql("SELECT pg_reload_conf()")
        yield server


@pytest.fixture
def clerk(locked_server: PostgresServer) -> str:
    """A role whose password is "first", with an address that does not contain it."""
    name = f"clerk_{uuid4().hex[:12]}"
    _ = locked_server.create_database(name)
    _ = locked_server.run_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'first'; ALTER DATABASE {name} OWNER TO {name}")
    return locked_server.dsn(name).replace("postgres@", f"{name}@")


def name_of(dsn: str) -> str:
    return dsn.rpartition("/")[2]


@asynccontextmanager
async def queue(**settings: Any) -> AsyncGenerator[PostgresQueueBackend]:
    """A queue that can be written to and read from."""
    async with opened(PostgresQueueBackend(settings=PostgresConfig(poll_only=True, **settings))) as backend:
        await backend.register(a_worker())
        _ = await backend.insert([a_record()])
        assert len((await backend.claim(a_claim())).records) == 1
        yield backend


@pytest.mark.parametrize(
    "options",
    [
        "connect_timeout=10&keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3",
        "channel_binding=prefer&gssencmode=disable&sslsni=1&tcp_user_timeout=5000",
        "sslmode=prefer&client_encoding=latin1&target_session_attrs=read-write",
        "pgbouncer=true&connection_limit=1&pool_timeout=0&schema=public",
        "options=-c%20statement_timeout%3D100ms",
        "options=-c%20statement_timeout%3D100ms%20-c%20lock_timeout%3D1ms&pgbouncer=true",
        "statement_timeout=100ms",
    ],
)
async def test_options_that_providers_add_do_no_harm(database: Database, options: str) -> None:
    async with queue(dsn=f"{database.dsn.replace('postgresql://', 'postgres://')}?{options}") as backend:
        assert len(await backend.connections.fetch("SELECT pg_sleep(0.2)")) == 1


async def test_an_option_that_nobody_knows_is_reported_with_advice(database: Database) -> None:
    with pytest.raises(StorageError, match=r'parameter "colour"\..*leave the option out'):
        await PostgresQueueBackend(settings=PostgresConfig(dsn=f"{database.dsn}?colour=red")).open()


@pytest.mark.parametrize("listens", [True, False])
async def test_the_connections_have_the_name_of_the_application(database: Database, listens: bool) -> None:
    settings = PostgresConfig(dsn=f"{database.dsn}?application_name=shop", poll_only=not listens)
    async with opened(PostgresQueueBackend(settings=settings)) as backend:
        await backend.wait_for_work(backend.changes, timeout=10 if listens else 0)
        names = database.server.run_sql(NAMES, at=database.dsn).splitlines()

    assert sorted(names) == (["shop", "shop (listening)"] if listens else ["shop"])


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://postgres@/{name}?host={path}&port={port}",
        "postgresql://postgres@localhost/{name}?host={path}&port={port}",
        "postgresql://postgres@{encoded}/{name}?port={port}",
    ],
)
async def test_a_socket_may_have_colons_in_its_path(database: Database, address: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        instance = Path(folder) / "shop:europe-west1:db"
        instance.symlink_to(database.server.directory)
        encoded = str(instance).replace("/", "%2F")
        dsn = address.format(name=database.name, path=instance, encoded=encoded, port=database.server.port)
        async with queue(dsn=dsn):
            pass


@pytest.mark.parametrize(
    "folder", ["/cloudsql/shop:europe:db", "/cloudsql/" + "long" * 30], ids=["missing", "too long"]
)
async def test_a_socket_that_cannot_be_used_is_named(folder: str) -> None:
    with pytest.raises(StorageError, match=rf"{folder}/.s.PGSQL.5432: .*proxy of its provider") as raised:
        await PostgresQueueBackend(settings=PostgresConfig(dsn=f"postgresql://ada@/shop?host={folder}")).open()

    assert not raised.value.is_permanent


async def test_a_file_of_the_address_that_does_not_exist_is_named() -> None:
    dsn = "postgresql://db.example/shop?sslmode=verify-full&sslrootcert=/not/there.pem"

    with pytest.raises(StorageError, match=r"there is no file sslrootcert=/not/there.pem"):
        await PostgresQueueBackend(settings=PostgresConfig(dsn=dsn)).open()


async def test_a_server_that_does_not_answer_does_not_keep_the_next_one_from_being_tried(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{database.server.port}"
        dsn = database.dsn.replace(f"127.0.0.1:{database.server.port}", hosts)
        async with queue(dsn=f"{dsn}?connect_timeout=1"):
            pass


async def test_each_server_that_cannot_be_used_is_named_with_its_reason(database: Database) -> None:
    _ = database.server.run_sql(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    hosts = f"127.0.0.1:1,127.0.0.1:{database.server.port}"
    dsn = database.dsn.replace(f"127.0.0.1:{database.server.port}", hosts)

    with pytest.raises(
        StorageError, match=r"127.0.0.1:1: .*Connect call failed.*; 127.0.0.1:\d+: None of the hosts match"
    ):
        await PostgresQueueBackend(settings=PostgresConfig(dsn=dsn)).open()


async def test_a_password_may_be_given_apart_from_the_address(clerk: str) -> None:
    async with queue(dsn=clerk, password="first"):
        pass
    with pytest.raises(StorageError, match="Check the user and the password") as raised:
        await PostgresQueueBackend(settings=PostgresConfig(dsn=clerk, password="wrong")).open()

    assert raised.value.is_permanent


async def test_the_password_of_the_address_may_be_encoded(clerk: str, locked_server: PostgresServer) -> None:
    name = name_of(clerk)
    _ = locked_server.run_sql(f"ALTER ROLE {name} PASSWORD 'a@b:c/d?e#f%g&h=i +'")

    async with queue(dsn=clerk.replace("@", ":a%40b%3Ac%2Fd%3Fe%23f%25g%26h%3Di%20+@")):
        pass


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_password_that_changes_is_asked_for_again(
    clerk: str, locked_server: PostgresServer, is_async: bool
) -> None:
    name, asked, known = name_of(clerk), list[str](), ["first"]

    def password() -> str:
        asked.append(known[-1])
        return known[-1]

    async def async_password() -> str:
        return password()

    async with queue(dsn=clerk, password=async_password if is_async else password) as backend:
        known.append("second")
        _ = locked_server.run_sql(f"ALTER ROLE {name} PASSWORD 'second'")
        _ = locked_server.run_sql(HANG_UP.format(name))
        with suppress(StorageError):
            _ = await backend.insert([a_record()])  # On the connection that was open, unless its end is known already.
        [insertion] = await backend.insert([a_record()])

        assert insertion.created
        assert await asyncio.to_thread(backend.beat_from_thread, "ada")
    assert asked[0] == "first"
    assert asked[-1] == "second"


async def test_a_password_that_has_changed_while_it_was_sent_is_asked_for_again(clerk: str) -> None:
    asked = iter(["expired", "first"])

    async with queue(dsn=clerk, password=lambda: next(asked)):
        assert list(asked) == []


async def test_a_password_that_stays_wrong_is_sent_once_and_may_be_right_later(clerk: str) -> None:
    with pytest.raises(StorageError, match=r"The password came from PostgresConfig\(password=...\)") as raised:
        await PostgresQueueBackend(settings=PostgresConfig(dsn=clerk, password=lambda: "wrong")).open()

    assert not raised.value.is_permanent


def failing() -> str:
    raise KeyError("token")


@pytest.mark.parametrize(
    "settings, error, said",
    [
        ({"password": lambda: None}, ConfigurationError, "has returned a value of type NoneType, not text"),
        ({"password": failing}, StorageError, r"PostgresConfig\(password=...\) raised KeyError"),
        ({"connect": lambda: "pool"}, ConfigurationError, "returned 'pool'; it must return a connection of asyncpg"),
        ({"connect": failing}, StorageError, r"PostgresConfig\(connect=...\) raised KeyError"),
    ],
)
async def test_a_function_of_the_application_that_fails_is_named(
    settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        await PostgresQueueBackend(settings=PostgresConfig(dsn="postgresql://127.0.0.1:1/shop", **settings)).open()


async def test_a_connector_opens_the_connections(database: Database) -> None:
    made = list[Any]()

    async def connect() -> Any:
        made.append(await asyncpg.connect(database.dsn))
        return made[-1]

    async with queue(connect=connect, dsn="postgresql://not-used.invalid/shop") as backend:
        shown = await backend.connections.fetch("SELECT current_setting('enable_seqscan')")

        assert shown[0][0] == "off"
        assert backend.address == "an application's connection (schema lq)"
        assert await asyncio.to_thread(backend.beat_from_thread, "ada")
    assert [one.is_closed() for one in made] == [True] * len(made)


async def test_errors_of_a_connector_are_told_as_others_are() -> None:
    async def connect() -> Any:
        return await asyncpg.connect("postgresql://127.0.0.1:1/shop")

    with pytest.raises(StorageError, match="Does the server run"):
        await PostgresQueueBackend(settings=PostgresConfig(connect=connect)).open()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
@pytest.mark.parametrize("by_pool", [True, False])
async def test_a_database_that_cannot_store_all_text_is_refused(
    postgres_server: PostgresServer, encoding: str, by_pool: bool
) -> None:
    name = f"old_{uuid4().hex}"
    _ = postgres_server.run_sql(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
    async with asyncpg.create_pool(postgres_server.dsn(name), min_size=1) as pool:
        settings = PostgresConfig(pool=pool) if by_pool else PostgresConfig(dsn=postgres_server.dsn(name))
        backend = PostgresQueueBackend(settings=settings)
        with pytest.raises(StorageError, match=f"{name} has the encoding {encoding}.*ENCODING 'UTF8'") as raised:
            await backend.open()
        with pytest.raises(StorageError, match=f"encoding {encoding}"):
            _ = await backend.pending_migrations()
    postgres_server.drop_database(name)

    assert raised.value.is_permanent


async def test_no_timeout_of_the_database_ends_what_lq_does(database: Database) -> None:
    names = database.server.run_sql("SELECT name FROM pg_settings WHERE name ~ '^[a-z_]+_timeout$' AND setting = '0'")
    names = [name for name in names.splitlines() if name in timeouts(command_timeout=15)]
    for name in names:
        _ = database.server.run_sql(f"ALTER DATABASE {database.name} SET {name} = '200ms'")
    locked = asyncio.Event()
    async with queue(dsn=database.dsn, min_connections=2) as backend:
        connections = backend.connections
        before = database.server.run_sql(PROCESSES, at=database.dsn)

        async def hold() -> None:
            async with connections.transaction() as fetch:
                _ = await fetch("LOCK TABLE lq.queues IN ACCESS EXCLUSIVE MODE")
                locked.set()
                _ = await fetch("SELECT pg_sleep(0.5)")

        async def wait() -> None:
            _ = await locked.wait()
            _ = await connections.fetch("SELECT count(*) FROM lq.queues")  # It waits for the lock.

        _ = await asyncio.gather(hold(), wait())
        async with connections.transaction() as fetch:
            _ = await fetch("SELECT 1")
            _ = await connections.fetch("SELECT pg_sleep(0.5)")  # Meanwhile, the transaction is idle.
        _ = await connections.fetch("SELECT pg_sleep(0.5)")  # Meanwhile, the other connection is idle.

        assert database.server.run_sql(PROCESSES, at=database.dsn) == before
    assert {"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"} <= {
        *names
    }
