"""How fast 50 concurrent callers enqueue on durable SQLite, compared with a naive way: ``./dev bench enqueue``."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Final

from figures import Figure, show
from fixture import nothing, stage

from lq_core import QueuedTaskRecord
from lq_core.queue.sqlite import SQLiteConfig, writing
from lq_core.queue.sqlite import write_statements as statements
from lq_core.queue.sqlite.schema import connect

GOAL: Final = 40_000
GOAL_TIMES: Final = 10
CALLERS: Final = 50
ROUNDS: Final = 5


def measure() -> list[Figure]:
    """Enqueue both ways in turn, and compare the best rounds."""
    rounds = [(asyncio.run(_through_lq(400)), asyncio.run(_naively(40))) for _ in range(ROUNDS)]
    ours, naive = (max(rates) for rates in zip(*rounds, strict=True))
    return [
        Figure(f"enqueue, SQLite, synchronous=FULL, {CALLERS} callers", ours, "/s", GOAL),
        Figure("enqueue, the same records, one thread hop and one commit a call", naive, "/s"),
        Figure("enqueue, lq beside the naive way", ours / naive, "times", GOAL_TIMES),
    ]


async def _through_lq(each: int) -> float:
    async with stage("sqlite") as service:
        return await _rate(lambda number: service.enqueue(nothing, number), each)


async def _naively(each: int) -> float:
    """Store the same records with the same statements."""
    with tempfile.TemporaryDirectory(prefix="lq-benchmark-") as room:
        path = Path(room) / "lq.db"
        async with stage("sqlite", path=path) as service:
            lock = asyncio.Lock()

            def store(record: QueuedTaskRecord) -> None:
                connection.execute(statements.BEGIN)
                writing.insert(connection, [record], at=record.created_at)
                connection.execute(statements.COMMIT)

            async def enqueue(number: int) -> None:
                at = service.queue_backend.now()
                record = service.record_of(nothing.call(number), at=at)
                async with lock:
                    await asyncio.to_thread(store, record)

            with closing(connect(SQLiteConfig(path=path), path)) as connection:
                return await _rate(enqueue, each)


async def _rate(enqueue: Callable[[int], Awaitable[object]], each: int) -> float:
    async def caller() -> None:
        for number in range(each):
            await enqueue(number)

    began = perf_counter()
    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(caller())
    return CALLERS * each / (perf_counter() - began)


if __name__ == "__main__":
    show(measure())
