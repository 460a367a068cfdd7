"""
What a call of SyncQueueService costs, compared with the same call of QueueService: ``./dev bench plain_calls``.

The goal is at most 1.3 times the awaited call, plus one hop to the thread of an event loop and back.
"""

import asyncio
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from figures import Figure, show
from fixture import nothing

from lq_core import QueueConfig, QueueService, SyncQueueService
from lq_core.queue.sqlite import SQLiteConfig

SHARE: Final = 1.3
CALLS: Final = 400
ROUNDS: Final = 15


def measure() -> list[Figure]:
    """Enqueue one by one in both ways, in turn, and compare the medians of the rounds."""
    figures: list[Figure] = []
    for store in ("memory", "SQLite"):
        with tempfile.TemporaryDirectory(prefix="lq-benchmark-") as room:
            awaited, plain, hop = _rounds(store, Path(room))
        figures.append(Figure(f"enqueue with await, {store}", awaited * 1000, "ms"))
        figures.append(Figure(f"enqueue in plain code, {store}", plain * 1000, "ms"))
        figures.append(Figure(f"a thread hop, beside {store}", hop * 1000, "ms"))
        budget = SHARE * awaited + hop
        figures.append(
            Figure(f"{SHARE} awaited calls and a hop, beside a plain call, {store}", budget / plain, "times", 1)
        )
    return figures


def _rounds(store: str, room: Path) -> tuple[float, float, float]:
    """Return the seconds of an awaited call, of a plain call and of a thread hop."""

    def config(name: str) -> QueueConfig:
        return QueueConfig(queue_backend="memory" if store == "memory" else SQLiteConfig(path=room / name))

    with _loop_thread() as loop, SyncQueueService(config("plain.db")) as service:

        def hop() -> None:
            asyncio.run_coroutine_threadsafe(_do_nothing(), loop).result()

        def plain() -> None:
            service.enqueue(nothing, 1)

        ways = [(asyncio.run(_awaited(config("awaited.db"))), _each(plain), _each(hop)) for _ in range(ROUNDS)]
    awaited, hopped, nothing_done = zip(*ways, strict=True)
    return median(awaited), median(hopped), median(nothing_done)


async def _awaited(config: QueueConfig) -> float:
    async with QueueService(config) as service:
        await service.enqueue(nothing, 1)
        began = perf_counter()
        for _ in range(CALLS):
            await service.enqueue(nothing, 1)
        return (perf_counter() - began) / CALLS


async def _do_nothing() -> None:
    pass


def _each(call: Callable[[], None]) -> float:
    call()
    began = perf_counter()
    for _ in range(CALLS):
        call()
    return (perf_counter() - began) / CALLS


@contextmanager
def _loop_thread() -> Generator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


if __name__ == "__main__":
    show(measure())
