"""
How much memory waiting records cost a worker: ``./dev bench backlog``.

A worker process runs the same number of records beside a small and a large backlog on SQLite. The peaks of its memory
are compared.
"""

import asyncio
import resource
import sys
import tempfile
from pathlib import Path
from typing import Final

from figures import Figure, show
from fixture import ARRIVALS, all_completed, nothing, output, stage

from lq_core import Worker

GOAL: Final = 1.0
SMALL: Final = 20_000  # Enough to fill SQLite's own caches, of 2 MB for each connection.
LARGE: Final = 120_000
RUN: Final = 1_000


def measure() -> list[Figure]:
    """Compare the peaks."""
    small, large = asyncio.run(_peak_beside(SMALL)), asyncio.run(_peak_beside(LARGE))
    return [
        Figure(f"memory of a worker, {SMALL:,} waiting", small, "MB"),
        Figure(f"memory of a worker, {LARGE:,} waiting", large, "MB"),
        Figure(f"memory of a worker, growth for each {LARGE - SMALL:,} waiting", max(0.0, large - small), "MB", GOAL),
    ]


async def _peak_beside(backlog: int) -> float:
    with tempfile.TemporaryDirectory(prefix="lq-benchmark-") as room:
        path = Path(room) / "lq.db"
        # Another process fills the file, because a child inherits the peak of its parent.
        await output("backlog", "--fill", str(backlog), str(path))
        return float(await output("backlog", "--work", str(path)))


async def _fill(path: Path, records: int) -> None:
    async with stage("sqlite", path=path) as service:
        for _ in range(records // 1000):
            await service.enqueue_many(nothing.call(number) for number in range(1000))


async def _work(path: Path) -> float:
    async with stage("sqlite", path=path) as service:
        ARRIVALS.expect(RUN)
        async with Worker(service):
            await all_completed(service, RUN)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1_000_000 if sys.platform == "darwin" else 1_000)


if __name__ == "__main__":
    if "--fill" in sys.argv:
        asyncio.run(_fill(Path(sys.argv[-1]), int(sys.argv[-2])))
    elif "--work" in sys.argv:
        print(asyncio.run(_work(Path(sys.argv[-1]))))
    else:
        show(measure())
