"""The servers for tests start, fail on command, come back, and leave nothing behind."""

import asyncio
import runpy
import shutil
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from servers import PgBouncer, PostgresServer, TcpProxy, find_installation
from servers.eventually import wait_until
from servers.fixtures import Database

Wire: TypeAlias = tuple[StreamReader, StreamWriter]
Dial: TypeAlias = Callable[[], Awaitable[Wire]]

ORPHAN = """
import sys
from servers import PostgresServer
server = PostgresServer()
server.start()
print(server.directory, flush=True)
sys.stdin.read()
"""


def test_a_database_answers_and_is_of_the_server_s_version(database: Database) -> None:
    number = database.server.run_sql("SHOW server_version_num", at=database.dsn)

    assert int(number) // 10_000 == database.server.installation.version


def test_a_failing_statement_raises_the_message_of_the_server(database: Database) -> None:
    with pytest.raises(RuntimeError, match='relation "nowhere" does not exist'):
        _ = database.server.run_sql("SELECT FROM nowhere", at=database.dsn)


def test_an_unknown_version_is_refused_with_what_to_install() -> None:
    with pytest.raises(LookupError, match=r"PostgreSQL 7 is not on this machine.*apt-get install postgresql"):
        _ = find_installation(7)


@pytest.mark.parametrize("fault", [PostgresServer.stop, PostgresServer.crash])
def test_a_stopped_server_comes_back_on_its_port_with_its_data(
    own_postgres_server: PostgresServer, fault: Callable[[PostgresServer], None]
) -> None:
    _ = own_postgres_server.create_database("kept")
    port = own_postgres_server.port

    fault(own_postgres_server)
    was_running = own_postgres_server.is_running()
    own_postgres_server.start()

    assert not was_running
    assert own_postgres_server.port == port
    assert own_postgres_server.run_sql("SELECT 1", at=own_postgres_server.dsn("kept")) == "1"


def test_a_killed_server_recovers_from_its_log(own_postgres_server: PostgresServer) -> None:
    _ = own_postgres_server.create_database("kept")

    own_postgres_server.kill()
    own_postgres_server.start()

    assert own_postgres_server.run_sql("SELECT 1", at=own_postgres_server.dsn("kept")) == "1"
    assert "automatic recovery in progress" in own_postgres_server.log


def test_a_durable_server_flushes() -> None:
    with PostgresServer(durable=True) as server:
        assert server.run_sql("SELECT current_setting('fsync'), current_setting('synchronous_commit')") == "on|on"


def test_a_removed_server_leaves_no_file(own_postgres_server: PostgresServer) -> None:
    own_postgres_server.remove()

    assert not own_postgres_server.is_running()
    assert not own_postgres_server.directory.exists()


def test_a_server_ends_with_the_process_that_started_it() -> None:
    tests = str(Path(__file__).parents[1])
    starter = subprocess.Popen(
        [sys.executable, "-c", ORPHAN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": tests},
    )
    assert starter.stdout is not None
    directory = Path(starter.stdout.readline().strip())

    with starter:
        starter.kill()

    wait_until(
        lambda: not (directory / "data" / "postmaster.pid").exists(),
        within=10,
        otherwise=lambda: "It is still running.",
    )
    shutil.rmtree(directory)


def test_two_sessions_share_one_connection_behind_pgbouncer(postgres_server: PostgresServer) -> None:
    psql = [postgres_server.installation.programs / "psql", "-XAtq"]
    with (
        PgBouncer(postgres_server, pool_size=1) as bouncer,
        subprocess.Popen(
            [*psql, "-d", bouncer.dsn()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as idle_session,
    ):
        assert idle_session.stdin is not None
        assert idle_session.stdout is not None
        print("SELECT 'idle';", file=idle_session.stdin, flush=True)
        first = idle_session.stdout.readline().strip()
        second = postgres_server.run_sql("SELECT 'busy'", at=bouncer.dsn())
        idle_session.stdin.close()

    assert (first, second) == ("idle", "busy")


def test_a_pgbouncer_that_cannot_be_installed_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(program: str, **_: str) -> None:
        """Find no program, not even apt-get."""

    monkeypatch.setattr(shutil, "which", nothing)

    with pytest.raises(SystemExit, match="Install it with: sudo apt-get install pgbouncer"):
        runpy.run_module("servers")


def test_a_stopped_pgbouncer_refuses(pgbouncer: PgBouncer) -> None:
    pgbouncer.stop()

    with pytest.raises(RuntimeError, match="Connection refused"):
        _ = pgbouncer.server.run_sql("SELECT 1", at=pgbouncer.dsn())
    pgbouncer.start()


async def test_a_proxy_passes_bytes(dial: Dial) -> None:
    assert await ask(await dial(), b"one") == b"one"


async def test_a_cut_proxy_breaks_connections_and_refuses_new_ones_until_it_resumes(echo: TcpProxy, dial: Dial) -> None:
    wire = await dial()
    assert await ask(wire, b"one") == b"one"

    await echo.cut()

    assert await hears_nothing_or_reset(wire)
    assert await hears_nothing_or_reset(await dial())
    echo.resume()
    assert await ask(await dial(), b"two") == b"two"


async def test_stalled_bytes_arrive_when_the_proxy_resumes(echo: TcpProxy, dial: Dial) -> None:
    wire = await dial()
    assert await ask(wire, b"one") == b"one"

    echo.stall()
    with pytest.raises(TimeoutError):
        _ = await ask(wire, b"two", within=0.1)
    echo.resume()

    assert await listen(wire) == b"two"


async def test_a_forgotten_connection_stays_silent_beside_new_ones(echo: TcpProxy, dial: Dial) -> None:
    wire = await dial()
    assert await ask(wire, b"one") == b"one"

    echo.forget()
    echo.resume()

    with pytest.raises(TimeoutError):
        _ = await ask(wire, b"two", within=0.1)
    assert await ask(await dial(), b"three") == b"three"


@pytest.fixture
async def echo() -> AsyncIterator[TcpProxy]:
    """A proxy in front of a server that answers with what it hears."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(ConnectionError):
            while heard := await reader.read(100):
                writer.write(heard)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


@pytest.fixture
async def dial(echo: TcpProxy) -> AsyncIterator[Dial]:
    """Opens connections to the proxy, and closes them after the test."""
    writers: list[StreamWriter] = []

    async def open_wire() -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
        writers.append(writer)
        return reader, writer

    yield open_wire
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def ask(wire: Wire, word: bytes, *, within: float = 5) -> bytes:
    wire[1].write(word)
    return await listen(wire, within=within)


async def listen(wire: Wire, *, within: float = 5) -> bytes:
    async with asyncio.timeout(within):
        return await wire[0].read(100)


async def hears_nothing_or_reset(wire: Wire) -> bool:
    try:
        return await listen(wire) == b""
    except ConnectionError:
        return True
