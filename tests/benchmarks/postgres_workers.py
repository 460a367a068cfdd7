"""
The rate of one and two worker processes on one durable PostgreSQL, and how soon an idle worker starts a record.

``./dev bench postgres_workers``. A rate is the median of several rounds, in which one process and two processes
take turns. It is measured from the start of the first task to the end of the last one, as stored in the records.
"""

import asyncio
import random
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from statistics import median, quantiles
from time import perf_counter
from typing import Final

from figures import Figure, show
from fixture import work, worker_process

from lq_core import QueueConfig, QueueService, Worker, task
from lq_postgres import PostgresConfig, PostgresQueueBackend
from programs import until
from servers import PostgresServer, find_installation

ROUNDS: Final = 5
RECORDS: Final = 40_000
CONCURRENCY: Final = 50
PICK_UPS: Final = 1000
LOOK_INTERVAL: Final = 0.25
"""Seconds between two looks at a drain. Each look costs the server a few milliseconds."""

SPAN: Final = """
SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM lq.records
HAVING count(*) FILTER (WHERE status = 'completed') = $1
"""


@task(name="benchmark.noop", timeout=30)
async def noop() -> bool:
    """Do nothing."""
    return True


@task(name="benchmark.picked_up", timeout=30)
async def picked_up(since: float) -> float:
    """Return the milliseconds since *since*, by the monotonic clock of this machine."""
    return (perf_counter() - since) * 1000


def a_config(dsn: str) -> QueueConfig:
    return QueueConfig(queue_backend=PostgresConfig(dsn=dsn), concurrency=CONCURRENCY)


def measure() -> list[Figure]:
    """Drain in turns by one process and by two, then pick up one by one."""
    wanted = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    rates: dict[int, list[float]] = {1: [], 2: []}
    with PostgresServer(find_installation(*wanted), durable=True) as server:
        for number in range(ROUNDS):
            for workers, found in rates.items():
                name = f"drain_{number}_{workers}"
                found.append(asyncio.run(_drained(server.create_database(name), workers)))
                server.drop_database(name)
        waits = quantiles(asyncio.run(_picked_up(server.create_database("pickup"))), n=100)
    alone, together = median(rates[1]), median(rates[2])
    return [
        Figure(f"drain by one worker, concurrency {CONCURRENCY}", alone, "/s", 20_000),
        Figure("drain by two workers", together, "/s"),
        Figure("drain by two workers, beside one", together / alone, "times", 1.6),
        Figure("pick-up p50, between two connections", waits[49], "ms", 2.5),
        Figure("pick-up p99, between two connections", waits[98], "ms", 15),
    ]


async def _drained(dsn: str, workers: int) -> float:
    async with QueueService(a_config(dsn)) as service, AsyncExitStack() as running:
        backend = service.queue_backend
        assert isinstance(backend, PostgresQueueBackend)
        await service.pause("default")
        for _ in range(RECORDS // 1000):
            _ = await service.enqueue_many([noop.call() for _ in range(1000)])
        for _ in range(workers):
            await running.enter_async_context(worker_process("postgres_workers", dsn))

        async def all_there() -> bool:
            return len(await service.workers()) == workers

        async def all_claimed() -> bool:
            return not await backend.connections.fetch("SELECT FROM lq.records WHERE ready LIMIT 1")

        async def all_completed() -> bool:
            return bool(await backend.connections.fetch(SPAN, RECORDS))

        await until(all_there, what="every worker is registered")
        await service.resume("default")
        await until(all_claimed, what="every record is claimed", pause=LOOK_INTERVAL)
        await until(all_completed, what="every record is completed", pause=LOOK_INTERVAL)
        return RECORDS / (await backend.connections.fetch(SPAN, RECORDS))[0][0]


async def _picked_up(dsn: str) -> list[float]:
    config = a_config(dsn)
    waits: list[float] = []
    async with QueueService(config) as service, QueueService(replace(config)) as other, Worker(other):
        for number in range(PICK_UPS + 10):
            wait = await (await service.enqueue(picked_up, perf_counter())).wait(timeout=30)
            if number >= 10:  # The process is still warming up for the first ones.
                waits.append(wait)
            await asyncio.sleep(random.uniform(0.005, 0.02))  # The queue becomes idle, for a random time.
    return waits


async def _work(dsn: str) -> None:
    async with QueueService(a_config(dsn)) as service:
        await work(service)


if __name__ == "__main__":
    if "--work" in sys.argv:
        asyncio.run(_work(sys.argv[-1]))
    else:
        show(measure())
