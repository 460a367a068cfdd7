"""With a full disk, a worker runs no more records than it has slots, and goes on when there is space again."""

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from secrets import token_hex
from typing import Protocol

import pytest

from lq_core import QueueConfig, QueueService, TaskStatus, Worker, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from programs import until
from servers import PostgresServer
from servers.small_disk import SmallDisk, may_mount

JOBS = 200
SLOTS = 20


@task(name="full_disk.answer")
async def answer() -> str:
    """Return what needs space of its own and cannot be compressed, as soon as the disk is full."""
    _ = await is_full.get().wait()
    return token_hex(20_000)


is_full: ContextVar[asyncio.Event] = ContextVar("is_full")


class Disk(Protocol):
    """A disk that can be full."""

    def fill(self) -> None: ...
    def make_room(self) -> None: ...


class RefusedResults:
    """Refuses each result with the code of a full disk, where no small disk can be mounted."""

    def __init__(self, server: PostgresServer, dsn: str) -> None:
        self._server = server
        self._dsn = dsn

    def fill(self) -> None:
        body = "BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END"
        self._run(f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        when = "WHEN (NEW.result IS NOT NULL)"
        self._run(
            f"CREATE TRIGGER full_disk BEFORE UPDATE ON lq.records FOR EACH ROW {when} EXECUTE FUNCTION full_disk()"
        )

    def make_room(self) -> None:
        self._run("DROP TRIGGER full_disk ON lq.records")

    def _run(self, statement: str) -> None:
        _ = self._server.run_sql(statement, at=self._dsn)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["postgres, refused", *(["postgres, disk", "sqlite, disk"] if may_mount() else [])])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Disk, PostgresConfig | SQLiteConfig]]:
    """A disk, and the settings of a queue on it."""
    if request.param == "postgres, refused":
        server = request.getfixturevalue("server")
        dsn = server.create_database("shop")
        yield RefusedResults(server, dsn), PostgresConfig(dsn=dsn)
        return
    with SmallDisk() as disk:
        if request.param == "sqlite, disk":
            yield disk, SQLiteConfig(path=disk.space / "lq.db")
            return
        server = request.getfixturevalue("server")
        server.run_sql(f"CREATE TABLESPACE small LOCATION '{disk.space}'")
        server.run_sql("CREATE DATABASE shop TABLESPACE small")
        yield disk, PostgresConfig(dsn=server.dsn("shop"))
        server.stop()


async def all_run(service: QueueService) -> bool:
    return (await service.statistics()).total(TaskStatus.RUNNING) == SLOTS


async def test_outcomes_that_cannot_be_stored_hold_their_slots(
    place: tuple[Disk, PostgresConfig | SQLiteConfig], caplog: pytest.LogCaptureFixture
) -> None:
    disk, settings = place
    _ = is_full.set(asyncio.Event())
    config = QueueConfig(queue_backend=settings, concurrency=SLOTS, poll_interval=0.1)
    async with QueueService(config) as service:
        sent = await service.enqueue_many(answer.call() for _ in range(JOBS))
        async with Worker(service):
            await until(partial(all_run, service), what="every slot is taken")
            await asyncio.to_thread(disk.fill)
            is_full.get().set()
            running: list[int] = []

            async def tried_often() -> bool:
                statistics = await service.statistics()
                running.append(statistics.total(TaskStatus.RUNNING))
                return sum("settle_delayed" in entry.getMessage() for entry in caplog.records) > 3 * SLOTS

            await until(tried_often, what="many outcomes could not be stored")
            await asyncio.to_thread(disk.make_room)
            results = await asyncio.gather(*(one.wait(timeout=60) for one in sent))
            records = await service.queue_backend.get_many([one.id for one in sent])

    assert max(running) <= SLOTS
    assert len(results) == JOBS
    assert {(record.attempt, record.retry_count, record.losses) for record in records} == {(1, 0, 0)}
