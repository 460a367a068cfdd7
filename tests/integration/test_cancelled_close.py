"""A close that is cancelled, at any step, leaves nothing open, and a second close works; so does an opening."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

import process_tasks as tasks
from every_step import PATIENCE, Fault, Steps, problems_at_every_step, problems_in_every_coroutine
from lq_core import QueueConfig, QueueService, Worker
from lq_local import ProcessExecutionConfig
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.connection.driver import Connection
from programs import until
from servers import PostgresServer

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
FILES = Path("/proc/self/fd")


async def test_a_cancelled_close_leaves_no_connection_open(postgres: PostgresServer, shop: str) -> None:
    dsn = postgres.empty_database(shop)
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=dsn))

    held = list[Connection]()

    async def nothing_is_open() -> bool:
        return postgres.run_sql(OTHERS, at=dsn) == "0"

    async def it_listens() -> bool:
        return backend.listener is not None and backend.listener.up

    async def two_are_open() -> bool:
        return backend.connections.pool.get_size() >= 2

    async def play(steps: Steps) -> Mapping[str, str]:
        await backend.open()
        await backend.wait_for_work(backend.changes, timeout=0)
        await until(it_listens, what="it listens")
        async with backend.connections.lent() as connection:
            held.append(connection)  # Without a reference, Python itself would close it.
            asleep = asyncio.create_task(backend.connections.fetch("SELECT pg_sleep(0.5)"))
            await until(two_are_open, what="the statement has a connection")
        asleep.cancel()  # Its connection is being closed when the backend is.
        await asyncio.wait([asleep])
        return await _close(steps, backend.close, nothing_is_open)

    assert await problems_at_every_step(Fault.CANCELLED, play) == []


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_a_cancelled_close_leaves_no_file_open(config: QueueConfig, tmp_path: Path) -> None:
    service = QueueService(config)

    async def nothing_is_open() -> bool:
        return not any(str(file).startswith(str(tmp_path)) for file in _open_files())

    async def play(steps: Steps) -> Mapping[str, str]:
        await service.open()
        async with Worker(service):
            pass
        return await _close(steps, service.close, nothing_is_open)

    assert await problems_at_every_step(Fault.CANCELLED, play) == []


async def test_a_cancelled_opening_leaves_no_connection_open(postgres: PostgresServer, shop: str) -> None:
    dsn = postgres.empty_database(shop)
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=dsn, min_connections=2))

    async def nothing_is_open() -> bool:
        return postgres.run_sql(OTHERS, at=dsn) == "0"

    async def play(steps: Steps) -> Mapping[str, str]:
        found = await _with_fault(steps, backend.open)
        await backend.open()
        await backend.close()
        return found | await _remains(nothing_is_open)

    assert await problems_in_every_coroutine(Fault.CANCELLED, play) == []


@pytest.mark.parametrize("place", ["ProcessExecutionBackend.close > FutureIter", "ChildProcess.close before it begins"])
async def test_a_cancelled_close_leaves_no_child_process(place: str) -> None:
    processes = ProcessExecutionConfig(processes=1)
    config = QueueConfig(queue_backend="memory", execution_backends=(processes,), providers=(tasks.pool, tasks.session))
    steps = Steps(Fault.CANCELLED, lambda _, here: here.endswith(place))
    async with QueueService(config) as service, Worker(service):
        backend = await service.execution_backend("process")
        pid = await (await service.enqueue(tasks.pid)).wait(timeout=PATIENCE)

        async def it_has_ended() -> bool:
            return not os.path.exists(f"/proc/{pid}")  # noqa: ASYNC240, PTH110 -- it does not block

        assert await _close(steps, backend.close, it_has_ended) == {}
    assert steps.victim is not None


async def _close(
    steps: Steps, close: Callable[[], Awaitable[None]], has_ended: Callable[[], Awaitable[bool]]
) -> Mapping[str, str]:
    """Close with a fault, and then as usual."""
    found = await _with_fault(steps, close)
    await close()
    return found | await _remains(has_ended)


async def _with_fault(steps: Steps, call: Callable[[], Awaitable[object]]) -> dict[str, str]:
    async def first() -> None:
        await call()

    steps.install()
    calling = asyncio.create_task(first())
    ended, _ = await asyncio.wait([calling], timeout=PATIENCE)
    steps.end()
    if steps.victim is calling and not calling.cancelled():
        return {"the call": "does not say that it was cancelled"}
    return {} if ended else {"the call": "has not ended"}


async def _remains(has_ended: Callable[[], Awaitable[bool]]) -> dict[str, str]:
    try:
        await until(has_ended, what="everything has ended")
    except AssertionError:
        return {"afterwards": "something is open"}
    return {}


def _open_files() -> list[Path]:
    found = list[Path]()
    for file in FILES.iterdir():
        with suppress(OSError):
            found.append(file.readlink())
    return found
