"""Limits as a worker keeps them: never more at once, nobody else held up, and no time lost in between."""

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

import shop
from crowd import Crowd
from lq_core import Limits, QueueConfig, QueueService, RateLimit, TaskStatus, Worker, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from programs import running, until
from servers import PostgresServer

HERE = Path(__file__).parent
PROGRAM = """
import asyncio, sys
import test_limits
asyncio.run(test_limits.work(sys.argv[1]))
"""


crowd = Crowd()


@task(name="limits.visit", concurrency_key="crowd", concurrency=2)
async def visit() -> None:
    await crowd.visit()


@task(name="limits.visit_queue", queue="crowd")
async def visit_queue() -> None:
    await crowd.visit()


@task(name="limits.mark")
async def mark(place: str, number: int) -> None:
    """Leave a file for a while, seen by all processes, and then a line with how many were there."""
    mine = Path(place) / f"inside-{number}"
    mine.touch()
    await asyncio.sleep(0.02)  # The task is made to take its time; nobody waits by this clock.
    inside = sum(name.startswith("inside-") for name in os.listdir(place))  # noqa: PTH208 -- names are all it takes
    with (Path(place) / "log").open("a") as log:
        log.write(f"{number} {os.getpid()} {inside}\n")
    mine.unlink()


def kept_at(place: str) -> QueueConfig:
    """Several processes find the same records here."""
    store = PostgresConfig(dsn=place) if place.startswith("postgres") else SQLiteConfig(path=place)
    # Two slots in each: no process can do alone what is allowed to all.
    return QueueConfig(queue_backend=store, poll_interval=0.1, concurrency=2)


async def work(place: str) -> None:
    """Be one of several workers, until it is killed."""
    async with QueueService(kept_at(place)) as service, Worker(service):
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def counted() -> Crowd:
    globals()["crowd"] = made = Crowd()
    return made


async def test_a_key_lets_so_many_run_at_once_and_all_run_in_the_end(
    service: QueueService, worker: Worker, counted: Crowd
) -> None:
    sent = await service.enqueue_many(visit.call() for _ in range(30))
    for one in sent:
        await one.wait(timeout=60)

    assert counted.most == 2


async def test_a_queue_is_limited_by_the_configuration_of_its_workers(config: QueueConfig, counted: Crowd) -> None:
    config = replace(config, queue_limits={"crowd": Limits(concurrency=3)})
    async with QueueService(config) as service, Worker(service):
        sent = await service.enqueue_many(visit_queue.call() for _ in range(30))
        for one in sent:
            await one.wait(timeout=60)

    assert counted.most == 3


async def test_a_capped_key_does_not_keep_others_waiting(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    blocked = shop.wait_at_gate.using(concurrency_key="ann", priority=9)
    first, *_ = await service.enqueue_many(blocked.call() for _ in range(200))
    await gate.wait_begun()

    other = await service.enqueue(shop.add, 1, 2)
    added = await other.wait(timeout=30)
    gate.opened.set()

    assert added == 3
    assert await first.wait(timeout=30) == "passed"


async def test_the_end_of_one_starts_the_next_without_a_look(config: QueueConfig, counted: Crowd) -> None:
    patient = replace(config, poll_interval=30.0)
    async with QueueService(patient) as service, Worker(service):
        sent = await service.enqueue_many(visit.call() for _ in range(10))
        began = time.monotonic()
        for one in sent:
            await one.wait(timeout=25)

    assert time.monotonic() - began < 25


async def test_a_rate_spreads_the_starts(service: QueueService, worker: Worker) -> None:
    await service.limit_queue("crowd", rate=RateLimit(20, burst=1))
    sent = await service.enqueue_many(visit_queue.call() for _ in range(5))
    for one in sent:
        await one.wait(timeout=30)

    records = [await one.refresh() for one in sent]
    started = sorted(record.started_at for record in records if record.started_at is not None)
    gaps = [(after - before).total_seconds() for before, after in pairwise(started)]

    assert len(gaps) == 4
    assert min(gaps) >= 0.05


async def test_draining_runs_what_is_there_and_leaves_what_comes(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    before = await service.enqueue(shop.wait_at_gate)
    retried = await service.enqueue(shop.stumble, 2)
    await gate.wait_begun()
    draining = asyncio.create_task(service.drain("default"))

    async def is_draining() -> bool:
        return "default" in await service.queues()

    await until(is_draining, what="the queue drains")
    after = await service.enqueue(shop.add, 1, 2)
    gate.opened.set()

    assert await draining == 0
    assert (await before.refresh()).has_ended
    assert (await retried.refresh()).has_ended
    assert (await after.refresh()).attempt == 0
    assert (await service.queues())["default"].paused

    await service.resume("default")

    assert await after.wait(timeout=30) == 3


async def test_draining_tells_how_much_is_left_when_time_is_up(service: QueueService) -> None:
    await service.enqueue_many(shop.add.call(1, number) for number in range(3))

    assert await service.drain("default", timeout=0) == 3
    assert (await service.queues())["default"].draining is not None


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where several processes find the same records."""
    if request.param == "sqlite":
        return str(tmp_path / "lq.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database(f"limits_{uuid4().hex}")


async def test_several_processes_together_never_run_more_than_allowed(place: str, tmp_path: Path) -> None:
    limited = mark.using(concurrency_key="mark", concurrency=3)
    calls = [limited.call(str(tmp_path), number) for number in range(60)]
    path = os.pathsep.join(map(str, (HERE, HERE.parent / "support")))
    async with QueueService(kept_at(place)) as service, AsyncExitStack() as processes:
        for _ in range(3):
            command = (sys.executable, "-c", PROGRAM, place)
            await processes.enter_async_context(running(*command, folder=tmp_path, PYTHONPATH=path))

        async def all_there() -> bool:
            return len(await service.workers()) == 3

        await until(all_there, what="three workers are registered")
        await service.enqueue_many(calls)

        async def all_done() -> bool:
            return (await service.statistics()).total(TaskStatus.COMPLETED) == len(calls)

        await until(all_done, what="all have run")
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]

    assert len({number for number, _, _ in lines}) == len(lines) == 60
    assert len({process for _, process, _ in lines}) > 1
    assert max(int(inside) for _, _, inside in lines) == 3
