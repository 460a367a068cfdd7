"""
What is measured of every queue, and the loop that measures it: ``python measures.py MODULE DSN``.

It runs inside the environment of the queue in question, so it imports the standard library
alone. The module offers a class ``Peer``; the answer is one JSON object on standard output.
"""

import asyncio
import importlib
import json
import random
import sys
from abc import ABC, abstractmethod
from time import perf_counter
from typing import Final

CONCURRENCIES: Final = (50, 100, 500)
ONE_BY_ONE: Final = 3000
BULK: Final = 20_000
PICKUPS: Final = 1000


class PeerQueue(ABC):
    """A queue under measurement, with one task that does nothing but call :meth:`ran`."""

    jobs_to_drain: int = 3000
    """How many jobs one drain takes; enough for a second or so."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.each: asyncio.Event = asyncio.Event()

    def ran(self) -> None:
        """Note that the task has been started."""
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
        """Enqueue *size* jobs the quickest way there is, or return False: there is none."""
        return False

    @abstractmethod
    async def work(self, *, concurrency: int) -> None:
        """Run a worker until it is cancelled."""


async def measure(peer: PeerQueue, dsn: str) -> dict[str, float | None]:
    """All measures of one queue: jobs a second, and seconds for the two waits."""
    await peer.open(dsn)
    found: dict[str, float | None] = {}
    try:
        began = perf_counter()
        for _ in range(ONE_BY_ONE):
            await peer.enqueue()
        found["enqueue one by one"] = ONE_BY_ONE / (perf_counter() - began)
        began = perf_counter()
        has_bulk = await peer.enqueue_many(BULK)
        found["enqueue in bulk"] = BULK / (perf_counter() - began) if has_bulk else None
        _ = await _drain(peer, ONE_BY_ONE + BULK * has_bulk, concurrency=CONCURRENCIES[0])
        for concurrency in CONCURRENCIES:
            await _fill(peer, peer.jobs_to_drain)
            try:
                rate = await _drain(peer, peer.jobs_to_drain, concurrency=concurrency)
            except TimeoutError:  # Some do not get through: that is a result, and the others are to be measured.
                rate = None
            found[f"drain at {concurrency}"] = rate
        found |= await _pick_up(peer)
    finally:
        await peer.close()
    return found


async def _fill(peer: PeerQueue, jobs: int) -> None:
    if not await peer.enqueue_many(jobs):
        for _ in range(jobs):
            await peer.enqueue()


async def _drain(peer: PeerQueue, jobs: int, *, concurrency: int) -> float:
    # The first tenth is left out: it holds the start of the worker.
    peer.moments.clear()
    worker = asyncio.create_task(peer.work(concurrency=concurrency))
    try:
        async with asyncio.timeout(120):
            while len(peer.moments) < jobs:
                await _next_run(peer, worker)
    finally:
        await _end(worker)
    skipped = jobs // 10
    return (jobs - skipped - 1) / (peer.moments[jobs - 1] - peer.moments[skipped])


async def _pick_up(peer: PeerQueue) -> dict[str, float | None]:
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
                await asyncio.sleep(random.uniform(0.005, 0.02))  # Lets the worker go back to its idle wait.
    finally:
        await _end(worker)
    waits.sort()
    return {"pick-up p50": waits[len(waits) // 2], "pick-up p99": waits[int(len(waits) * 0.99)]}


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
    print(json.dumps(asyncio.run(measure(peer_class(), sys.argv[2]))))
