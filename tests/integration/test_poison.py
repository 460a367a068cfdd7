"""A record that kills its process fails alone: the records beside it complete."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

import shop
from lq_core import QueueConfig, QueuedTaskRecord, QueueService, RecordFilter, TaskFailure, TaskStatus, Worker, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.records import lifecycle
from lq_postgres import PostgresConfig
from programs import until
from servers import PostgresServer

PROGRAM = """
import asyncio, sys
import test_poison
from lq_core import QueueService, Worker

async def main():
    async with QueueService(test_poison.config_of(sys.argv[1])) as service, Worker(service):
        await asyncio.Event().wait()

asyncio.run(main())
"""

OPEN = (TaskStatus.PENDING, TaskStatus.RUNNING)


@task(name="poison.drink")
async def drink() -> None:
    """Kill the process, while others run beside it."""
    await asyncio.sleep(0.05)  # The tasks beside it have begun.
    os._exit(137)


@task(name="poison.linger")
async def linger(number: int) -> int:
    """Take longer than the poison."""
    await asyncio.sleep(0.2)  # The task is made to take its time; nobody waits by this clock.
    return number


def config_of(address: str) -> QueueConfig:
    backend = PostgresConfig(dsn=address) if "://" in address else SQLiteConfig(path=address)
    return QueueConfig(queue_backend=backend, heartbeat_interval=0.1, heartbeat_timeout=0.4, poll_interval=0.2)


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "lq.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database(f"poison_{uuid4().hex}")


@pytest.mark.parametrize("poisons", [1, 3])
async def test_records_beside_one_that_kills_its_process_complete(address: str, poisons: int) -> None:
    async with QueueService(config_of(address)) as service:
        await service.enqueue_many(drink.call() for _ in range(poisons))
        await service.enqueue_many(linger.call(number) for number in range(9))

        async with asyncio.timeout(90):
            while await service.count(RecordFilter(statuses=OPEN)):
                await run_until_it_dies(service, address)

        ended = {record.task_name: set[tuple[str, int]]() for record in await service.find()}
        for record in await service.find():
            ended[record.task_name].add((record.status, record.losses >= lifecycle.MAX_LOSSES))
    assert ended == {"poison.drink": {("failed", True)}, "poison.linger": {("completed", False)}}


async def run_until_it_dies(service: QueueService, address: str) -> None:
    """Run a worker in a process of its own, until the process dies or no record is left."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, address, env=environment)

    async def has_ended() -> bool:
        return process.returncode is not None or not await service.count(RecordFilter(statuses=OPEN))

    try:
        await until(has_ended, what="the worker dies, or all records have ended")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def service(config: QueueConfig) -> AsyncIterator[QueueService]:
    async with QueueService(replace(config, poll_interval=0.05)) as service:
        yield service


async def with_losses(service: QueueService, losses: int) -> QueuedTaskRecord:
    """Store a record that so many workers have died with."""
    sent = await service.enqueue(shop.wait_at_gate)
    failure = TaskFailure(type="WorkerLost", message="It died.")
    for _ in range(losses):
        old = sent.record
        sent.record = await service.queue_backend.claim_one(old.id, old.epoch, worker_id="ghost")
        sent.record, old = lifecycle.lose(sent.record, failure=failure, at=service.queue_backend.now()), sent.record
        assert await service.swap(old, sent.record)
    return sent.record


async def test_of_the_records_with_losses_a_worker_runs_one_at_a_time(service: QueueService) -> None:
    suspects = [await with_losses(service, 2) for _ in range(3)]
    gate = shop.new_gate()

    async with Worker(service):
        healthy = await service.enqueue(shop.add, 1, 1)
        await gate.wait_begun()

        async def are_released() -> bool:
            return all([(await stored(service, one)).epoch > one.epoch + 1 for one in suspects[1:]])

        await until(are_released, what="the others are released")
        assert await healthy.wait(timeout=10) == 2
        running = await service.find(RecordFilter(statuses=(TaskStatus.RUNNING,)))
        gate.opened.set()
        ended = [await service.wait(one.id, timeout=20) for one in suspects]

    assert [record.id for record in running] == [suspects[0].id]
    assert [(record.status, record.attempt, record.losses) for record in ended] == [("completed", 3, 2)] * 3


async def test_a_record_whose_next_loss_fails_it_waits_until_it_can_run_alone(service: QueueService) -> None:
    last = await with_losses(service, lifecycle.MAX_LOSSES)
    beside = await service.enqueue(shop.wait_at_gate)
    gate = shop.new_gate()

    async with Worker(service):
        await gate.wait_begun()

        async def is_released() -> bool:
            return (await stored(service, last)).epoch > last.epoch + 1

        await until(is_released, what="the record is released")
        assert (await beside.refresh()).status is TaskStatus.RUNNING
        gate.opened.set()
        ended = await service.wait(last.id, timeout=20)

    assert (ended.status, ended.attempt) == ("completed", lifecycle.MAX_LOSSES + 1)


async def stored(service: QueueService, record: QueuedTaskRecord) -> QueuedTaskRecord:
    found = await service.get(record.id)
    assert found is not None
    return found
