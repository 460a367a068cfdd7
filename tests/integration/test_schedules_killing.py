"""Processes that fire a schedule and are killed: no due time is lost, and none fires twice."""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lq_core import QueueConfig, QueueService, RecordFilter
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from programs import running, until

PROGRAM = """
import asyncio, sys
from lq_core import QueueConfig, QueueService, Worker, schedule, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig

@task(name="killing.tick", queue="ticks")
async def tick() -> None:
    pass

schedule(tick.call(), name="tick", every=1, catch_up="all")
address = sys.argv[1]
store = PostgresConfig(dsn=address) if "://" in address else SQLiteConfig(path=address)

async def main():
    async with QueueService(QueueConfig(queue_backend=store, poll_interval=0.1)) as service, Worker(service):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("postgres").create_database(f"ticks_{os.getpid()}")
    return str(tmp_path / "lq.db")


@pytest.fixture
async def service(address: str) -> AsyncIterator[QueueService]:
    store = PostgresConfig(dsn=address) if "://" in address else SQLiteConfig(path=address)
    async with QueueService(replace(QueueConfig(), queue_backend=store)) as service:
        yield service


async def ticks(service: QueueService) -> list[float]:
    found = await service.find(RecordFilter(schedule="tick"), limit=1000)
    return sorted(record.scheduled_at.timestamp() for record in found)


def more_than(service: QueueService, count: int) -> Callable[[], Awaitable[bool]]:
    async def are_there() -> bool:
        return len(await ticks(service)) > count

    return are_there


async def test_processes_that_are_killed_lose_no_due_time_and_fire_none_twice(
    service: QueueService, address: str, tmp_path: Path
) -> None:
    # A record that runs when its process is killed would be due again later.
    await service.pause("ticks")
    command = (sys.executable, "-c", PROGRAM, address)
    async with running(*command, folder=tmp_path) as last:
        async with running(*command, folder=tmp_path), running(*command, folder=tmp_path) as first:
            await first.line_with("ready")
            await until(more_than(service, 1), what="two due times have fired")
        # Two have been killed; the third goes on alone, is killed as well, and another makes up for what was missed.
        await until(more_than(service, len(await ticks(service)) + 1), what="two more due times have fired")
        await last.line_with("ready")
    async with running(*command, folder=tmp_path):
        await until(more_than(service, len(await ticks(service)) + 1), what="the schedule goes on")
        seen = await ticks(service)

    assert seen == [seen[0] + second for second in range(len(seen))]
