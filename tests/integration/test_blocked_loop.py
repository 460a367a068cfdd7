"""A task that blocks its event loop: its worker stays alive, and the log names the task while it blocks."""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lq_core import QueueConfig, QueueService, TaskContext, TaskStatus, Worker, task
from lq_core.queue import ThreadHeartbeats
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from programs import until
from servers import PostgresServer

asyncpg: Any = import_module("asyncpg")
QUICK = QueueConfig(heartbeat_interval=0.1, heartbeat_timeout=0.5, poll_interval=0.1)


class Gate:
    """Blocks the thread of a task until a test opens it."""

    begun = threading.Event()
    opened = threading.Event()


@pytest.fixture(autouse=True)
def gate() -> Generator[type[Gate]]:
    Gate.begun.clear()
    Gate.opened.clear()
    yield Gate
    Gate.opened.set()


@task(name="blocked.wait")
async def wait_for_gate(context: TaskContext) -> int:
    """Block the event loop, the first time."""
    if context.attempt == 1:
        Gate.begun.set()
        Gate.opened.wait(30)
    return context.attempt


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer settings"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> QueueConfig:
    if request.param == "sqlite":
        return replace(QUICK, queue_backend=SQLiteConfig(path=tmp_path / "lq.db"))
    server: PostgresServer = request.getfixturevalue("postgres")
    dsn = server.create_database(f"blocked_{uuid4().hex}")
    return replace(QUICK, queue_backend=PostgresConfig(dsn=dsn, statement_cache=request.param == "postgres"))


@pytest.fixture
async def service(config: QueueConfig) -> AsyncIterator[QueueService]:
    async with QueueService(config) as service:
        yield service


@contextmanager
def a_worker_in_a_thread(config: QueueConfig) -> Generator[None]:
    """Run a worker in an event loop of its own, which a task may block."""
    asked: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def work() -> None:
        asked.append((asyncio.get_running_loop(), asyncio.Event()))
        async with QueueService(config) as service, Worker(service):
            await asked[0][1].wait()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        yield
    finally:
        Gate.opened.set()
        asked[0][0].call_soon_threadsafe(asked[0][1].set)
        thread.join()


async def until_begun() -> None:
    await asyncio.to_thread(Gate.begun.wait, 30)


async def check_that_it_stays_alive(config: QueueConfig, service: QueueService) -> None:
    with a_worker_in_a_thread(config):
        sent = await service.enqueue(wait_for_gate)
        await until_begun()
        began = service.queue_backend.now()

        async def is_seen_after_the_timeout() -> bool:
            late = began + timedelta(seconds=2 * config.heartbeat_timeout)
            return any(worker.seen_at > late for worker in await service.workers())

        async with Worker(service):
            await until(is_seen_after_the_timeout, what="the blocked worker beats")
            running = await sent.refresh()
            Gate.opened.set()
            result = await sent.wait(timeout=30)

    assert (running.status, running.attempt, running.losses, result) == (TaskStatus.RUNNING, 1, 0, 1)


async def test_a_task_that_blocks_the_event_loop_keeps_its_worker_alive(
    config: QueueConfig, service: QueueService
) -> None:
    await check_that_it_stays_alive(config, service)


async def test_with_a_pool_of_the_application_the_heartbeat_uses_the_address_to_listen(
    postgres: PostgresServer,
) -> None:
    dsn = postgres.create_database(f"blocked_{uuid4().hex}")
    config = replace(QUICK, queue_backend=PostgresConfig(dsn=dsn))
    async with asyncpg.create_pool(dsn, min_size=1) as pool:
        here = replace(QUICK, queue_backend=PostgresConfig(pool=pool, listen_dsn=dsn))
        async with QueueService(here) as service:
            assert await asyncio.to_thread(beats, service) is False
        async with QueueService(config) as service:
            await check_that_it_stays_alive(config, service)


def beats(service: QueueService) -> bool:
    """Beat for an unknown worker, from a plain thread."""
    backend = service.queue_backend
    assert isinstance(backend, ThreadHeartbeats)
    return backend.beat_from_thread("nobody")


async def test_a_task_that_blocks_the_event_loop_is_reported_while_it_blocks_it(
    config: QueueConfig, service: QueueService, caplog: pytest.LogCaptureFixture
) -> None:
    async def is_reported() -> bool:
        return any(vars(entry).get("event") == "worker.event_loop_blocked" for entry in caplog.records)

    with a_worker_in_a_thread(config):
        sent = await service.enqueue(wait_for_gate)
        await until_begun()
        await until(is_reported, what="the log names the task")
        Gate.opened.set()
        await sent.wait(timeout=30)

    [told, *_] = [entry for entry in caplog.records if vars(entry).get("event") == "worker.event_loop_blocked"]
    assert vars(told)["running"] == ["blocked.wait"]
    assert "Gate.opened.wait(30)" in told.getMessage()
    assert "attempt.py" not in told.getMessage()


async def test_a_task_that_blocks_the_event_loop_beyond_its_timeout_loses_its_record(
    config: QueueConfig, service: QueueService, caplog: pytest.LogCaptureFixture
) -> None:
    with a_worker_in_a_thread(config):
        sent = await service.enqueue(wait_for_gate.using(timeout=0.2))
        await until_begun()
        async with Worker(service):
            result = await sent.wait(timeout=30)

    assert (result, sent.record.losses) == (2, 1)
    [told, *_] = [entry for entry in caplog.records if vars(entry).get("event") == "task.does_not_stop"]
    assert (vars(told)["task_name"], vars(told)["asked"], vars(told)["timeout"]) == ("blocked.wait", "timed out", 0.2)
