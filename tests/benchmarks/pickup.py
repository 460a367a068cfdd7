"""
How soon an idle worker starts a new record: ``./dev bench pickup``.

The time runs from the call of ``enqueue`` to the first line of the task, so it includes the commit.
"""

import asyncio
import random
import sys
import tempfile
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Final

from figures import Figure, show
from fixture import stage, work, worker_process

from lq_core import QueueService, Worker, task

GOAL_HERE: Final = 1.0
GOAL_ACROSS: Final = 5.0
PICK_UPS: Final = 200


@task(name="benchmark.waited")
async def waited(since: float) -> float:
    """Return the milliseconds since *since*, by the monotonic clock that the processes of a machine share."""
    return (perf_counter() - since) * 1000


def measure() -> list[Figure]:
    """Pick up in one process on both queue backends, then between two processes on SQLite."""
    figures: list[Figure] = []
    for where, goal, waits in (
        ("memory, one process", GOAL_HERE, asyncio.run(_in_one_process("memory"))),
        ("SQLite, one process", GOAL_HERE, asyncio.run(_in_one_process("sqlite"))),
        ("SQLite, two processes", GOAL_ACROSS, asyncio.run(_between_processes())),
    ):
        hundredths = quantiles(waits, n=100)
        figures.append(Figure(f"pick-up p50, {where}", hundredths[49], "ms", goal))
        figures.append(Figure(f"pick-up p95, {where}", hundredths[94], "ms"))
    return figures


async def _in_one_process(queue_backend: str) -> list[float]:
    async with stage(queue_backend) as service, Worker(service):
        return await _waits(service)


async def _between_processes() -> list[float]:
    with tempfile.TemporaryDirectory(prefix="lq-benchmark-") as room:
        path = Path(room) / "lq.db"
        async with stage("sqlite", path=path) as service, worker_process("pickup", path):
            return await _waits(service)


async def _waits(service: QueueService) -> list[float]:
    waits: list[float] = []
    for number in range(PICK_UPS + 10):
        result = await service.enqueue(waited, perf_counter())
        wait = await result.wait(timeout=30)
        if number >= 10:  # The process is still warming up for the first ones.
            waits.append(wait)
        await asyncio.sleep(random.uniform(0.01, 0.05))  # The queue becomes idle, for a random time.
    return waits


async def _work(path: Path) -> None:
    async with stage("sqlite", path=path) as service:
        await work(service)


if __name__ == "__main__":
    if "--work" in sys.argv:
        asyncio.run(_work(Path(sys.argv[-1])))
    else:
        show(measure())
