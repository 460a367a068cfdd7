"""How fast one worker runs tasks that do nothing, with every result stored: ``./dev bench drain``."""

import asyncio
from typing import Final

from figures import Figure, show
from fixture import ARRIVALS, all_completed, nothing, stage

from lq_core import Worker

SQLITE_GOAL: Final = 20_000
MEMORY_GOAL: Final = 40_000
ROUNDS: Final = 3


def measure() -> list[Figure]:
    """Drain SQLite at several concurrencies, and memory at several sizes of the backlog."""
    figures: list[Figure] = []
    for slots, goal in ((20, None), (50, None), (100, SQLITE_GOAL)):
        rate = _best("sqlite", records=20_000, concurrency=slots)
        figures.append(Figure(f"drain, SQLite, concurrency {slots}", rate, "/s", goal))
    for waiting in (1_000, 10_000, 100_000):
        rate = _best("memory", records=waiting, concurrency=50)
        figures.append(Figure(f"drain, memory, {waiting:,} waiting", rate, "/s", MEMORY_GOAL))
    return figures


def _best(queue_backend: str, *, records: int, concurrency: int) -> float:
    return max(asyncio.run(_drain(queue_backend, records, concurrency)) for _ in range(ROUNDS))


async def _drain(queue_backend: str, records: int, concurrency: int) -> float:
    async with stage(queue_backend, concurrency=concurrency) as service:
        await service.enqueue_many(nothing.call(number) for number in range(records))
        ARRIVALS.expect(records)
        async with Worker(service):
            return records / await all_completed(service, records)


if __name__ == "__main__":
    show(measure())
