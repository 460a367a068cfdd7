"""
The measurements of every queue: ``python measures.py MODULE DSN NAME``.

It runs in the environment of the queue, so it imports only the standard library. The module has a class ``Peer``.
The result is one JSON object on standard output.
"""

import asyncio
import importlib
import json
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Final, TypeAlias

ONE_BY_ONE: Final = 1000
BULK: Final = 20_000
PICKUPS: Final = 1000

Figures: TypeAlias = Mapping[str, float | None]
"""Jobs a second, or seconds for waits; None if the queue has no such feature."""


class PeerQueue(ABC):
    """A queue under measurement, with one task that does nothing but call :meth:`ran`."""

    jobs_to_drain: int = 3000
    """How many jobs one drain runs; enough for about a second."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.each: asyncio.Event = asyncio.Event()

    def ran(self) -> None:
        """Note that the task has started."""
        self.moments.append(perf_counter())
        self.each.set()

    @abstractmethod
    async def open(self, dsn: str) -> None:
        """Create the tables in an empty database, and connect."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    async def enqueue(self) -> None:
        """Enqueue one job, durably."""

    async def enqueue_many(self, size: int) -> bool:
        """Enqueue *size* jobs in the fastest way, or return False if the queue has no such way."""
        return False

    @abstractmethod
    async def work(self, *, concurrency: int) -> None:
        """Run a worker until it is cancelled."""


Measure: TypeAlias = Callable[[PeerQueue], Awaitable[Figures]]


async def one_by_one(peer: PeerQueue) -> Figures:
    """Enqueue one after the other; the first ones do not count."""
    for _ in range(ONE_BY_ONE // 10):
        await peer.enqueue()
    began = perf_counter()
    for _ in range(ONE_BY_ONE):
        await peer.enqueue()
    return {"enqueue one by one": ONE_BY_ONE / (perf_counter() - began)}


async def in_bulk(peer: PeerQueue) -> Figures:
    """Enqueue many jobs in the fastest way."""
    began = perf_counter()
    has_bulk = await peer.enqueue_many(BULK)
    return {"enqueue in bulk": BULK / (perf_counter() - began) if has_bulk else None}


async def drain(peer: PeerQueue, *, concurrency: int) -> Figures:
    """Run the enqueued jobs; the first tenth does not count, because it includes the start of the worker."""
    jobs = peer.jobs_to_drain
    await _fill(peer, jobs)
    worker = asyncio.create_task(peer.work(concurrency=concurrency))
    name = f"drain at {concurrency}"
    try:
        async with asyncio.timeout(120):
            while len(peer.moments) < jobs:
                await _next_run(peer, worker)
    except TimeoutError:  # A queue that does not finish has no figure.
        return {name: None}
    finally:
        await _end(worker)
    skipped = jobs // 10
    return {name: (jobs - skipped - 1) / (peer.moments[jobs - 1] - peer.moments[skipped])}


async def pick_up(peer: PeerQueue) -> Figures:
    """Measure the seconds from the enqueue to the start by an idle worker."""
    waits: list[float] = []
    worker = asyncio.create_task(peer.work(concurrency=10))
    try:
        async with asyncio.timeout(120):
            for number in range(PICKUPS + 10):
                peer.each.clear()
                began = perf_counter()
                await peer.enqueue()
                if not peer.each.is_set():
                    await _next_run(peer, worker)
                if number >= 10:
                    waits.append(peer.moments[-1] - began)
                await asyncio.sleep(random.uniform(0.005, 0.02))  # The worker becomes idle again.
    finally:
        await _end(worker)
    waits.sort()
    return {"pick-up p50": waits[len(waits) // 2], "pick-up p99": waits[int(len(waits) * 0.99)]}


MEASURES: Final[Mapping[str, Measure]] = {
    "one_by_one": one_by_one,
    "in_bulk": in_bulk,
    **{f"drain_{concurrency}": partial(drain, concurrency=concurrency) for concurrency in (50, 100, 500)},
    "pick_up": pick_up,
}


async def measure(peer: PeerQueue, dsn: str, name: str) -> Figures:
    """Take one measure of a queue, in an empty database."""
    await peer.open(dsn)
    try:
        return await MEASURES[name](peer)
    finally:
        await peer.close()


async def _fill(peer: PeerQueue, jobs: int) -> None:
    if not await peer.enqueue_many(jobs):
        for _ in range(jobs):
            await peer.enqueue()


async def _next_run(peer: PeerQueue, worker: asyncio.Task[None]) -> None:
    peer.each.clear()
    next_run = asyncio.create_task(peer.each.wait())
    _ = await asyncio.wait({next_run, worker}, return_when=asyncio.FIRST_COMPLETED)
    if worker.done() and not next_run.done():
        _ = next_run.cancel()
        worker.result()
        raise RuntimeError(f"The worker ended after {len(peer.moments)} jobs.")


async def _end(worker: asyncio.Task[None]) -> None:
    _ = worker.cancel()
    _ = await asyncio.wait({worker}, timeout=20)


if __name__ == "__main__":
    peer_class: type[PeerQueue] = importlib.import_module(sys.argv[1]).Peer
    print(json.dumps(asyncio.run(measure(peer_class(), *sys.argv[2:]))))
