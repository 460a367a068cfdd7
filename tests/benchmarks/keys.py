"""
What waiting concurrency keys cost: the first records of a backlog without keys, and with one key each.

The rates of one backend are measured in turns, so that all run under the same load: ``./dev bench keys``.
"""

import asyncio
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Final

from figures import Figure, show
from fixture import ARRIVALS, nothing
from stores import Make, every_store

from lq_core import QueueConfig, QueueService, TaskCall, Worker
from lq_core.queue import BaseQueueBackend

DRAINED: Final = 3_000
KEYS: Final = (3_000, 50_000)
ROUNDS: Final = 3
GOAL: Final = 0.5


def with_keys(number: int) -> TaskCall[int]:
    """Make a call with a key of its own, of which one record may run."""
    return nothing.using(concurrency_key=f"tenant {number}").call(number)


async def rate(backend: BaseQueueBackend, records: int, call: Callable[[int], TaskCall[int]]) -> float:
    """Return how many of the first records of a backlog run in a second."""
    async with QueueService(backend.config, queue_backend=backend) as service:
        for start in range(0, records, 1000):
            await service.enqueue_many([call(number) for number in range(start, start + 1000)])
        ARRIVALS.expect(DRAINED)
        async with Worker(service):
            await ARRIVALS.complete.wait()
            assert ARRIVALS.first is not None
            return DRAINED / (perf_counter() - ARRIVALS.first)


def compare(name: str, make: Make) -> list[Figure]:
    """Measure one backend; each ratio is the median of the rounds."""
    config = QueueConfig(concurrency=50, shutdown_grace=0.1)
    plain: list[float] = []
    keyed: dict[int, list[float]] = {keys: [] for keys in KEYS}
    for _ in range(ROUNDS):
        for keys, rates in keyed.items():
            without = asyncio.run(rate(make(config), keys, nothing.call))
            plain.append(without)
            rates.append(asyncio.run(rate(make(config), keys, with_keys)) / without)
    ratios = [
        Figure(f"{name}, {keys:,} keys, of the rate without", median(keyed[keys]), "times", GOAL) for keys in KEYS
    ]
    return [Figure(f"{name}, without keys", median(plain), "/s"), *ratios]


def measure() -> Sequence[Figure]:
    """Measure every backend."""
    return [figure for store, make in every_store() for figure in compare(store, make)]


if __name__ == "__main__":
    show(measure())
