"""
What fairness keys do, and what they cost: ``./dev bench fair``.

First the time from the enqueue of a tenant's call to its start beside the backlog of another tenant, then the CPU time
of enqueuing and draining records of many tenants. Each round measures it without keys as well.
"""

import asyncio
from collections.abc import Callable, Sequence
from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import perf_counter
from typing import Final

from figures import Figure, show
from fixture import ARRIVALS, nothing
from stores import Make, every_store

from lq_core import QueueConfig, QueueService, TaskCall, Worker, task
from lq_core.queue import BaseQueueBackend

BACKLOG: Final = 1_000_000
PAGE: Final = 1000
DRAINED: Final = 5_000
TENANTS: Final = 100
STARTS: Final = 20
ROUNDS: Final = 5
LONGEST: Final = 1000.0
LEAST: Final = 0.5

OF_TENANTS: Final = [nothing.using(fairness_key=f"tenant {number}") for number in range(TENANTS)]
"""Made once, as an application would, because the options are checked each time."""


@task(name="benchmark.started", fairness_key="small")
async def started(since: float) -> float:
    """Return the milliseconds since *since*."""
    return (perf_counter() - since) * 1000


def plain(number: int) -> TaskCall[int]:
    """Make a call without a fairness key."""
    return nothing.call(number)


def of_tenants(number: int) -> TaskCall[int]:
    """Make the call of one of many tenants."""
    return OF_TENANTS[number % TENANTS].call(number)


async def wait(backend: BaseQueueBackend, backlog: int) -> float:
    """Return the longest time to the start of a call beside a backlog of another tenant, in milliseconds."""
    async with QueueService(backend.config, queue_backend=backend) as service:
        large = nothing.using(fairness_key="large")
        for start in range(0, backlog, PAGE):
            await service.enqueue_many([large.call(number) for number in range(start, start + PAGE)])
        ARRIVALS.expect(backlog)
        async with Worker(service):
            waits = [await (await service.enqueue(started, perf_counter())).wait(timeout=60) for _ in range(STARTS)]
            assert ARRIVALS.expected > 0, "the backlog must not end before the last call"
        return max(waits)


async def cost(backend: BaseQueueBackend, call: Callable[[int], TaskCall[int]]) -> float:
    """Return the CPU seconds of enqueuing and draining."""
    async with QueueService(backend.config, queue_backend=backend) as service:
        began = _cpu()
        for start in range(0, DRAINED, PAGE):
            await service.enqueue_many([call(number) for number in range(start, start + PAGE)])
        ARRIVALS.expect(DRAINED)
        async with Worker(service):
            await ARRIVALS.complete.wait()
        return _cpu() - began


def compare(name: str, make: Make) -> list[Figure]:
    """Measure one backend."""
    config = QueueConfig(concurrency=50, shutdown_grace=0.1)
    ratios: list[float] = []
    for _ in range(ROUNDS):
        without = asyncio.run(cost(make(config), plain))
        ratios.append(without / asyncio.run(cost(make(config), of_tenants)))
    longest = asyncio.run(wait(make(config), BACKLOG))
    return [
        Figure(f"{name}, longest wait beside {BACKLOG:,} of another tenant", longest, "ms", LONGEST),
        Figure(f"{name}, {TENANTS} tenants, of the rate without keys", median(ratios), "times", LEAST),
    ]


def measure() -> Sequence[Figure]:
    """Measure every backend."""
    return [figure for store, make in every_store() for figure in compare(store, make)]


def _cpu() -> float:
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    show(measure())
