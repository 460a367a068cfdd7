"""
lq on one durable PostgreSQL, beside the raw statements on the same server: ``./dev bench postgres``.

Each round measures the raw loop and lq one after the other, so that both have the same neighbours; printed are the
best of each over all rounds, and their ratio.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Final

from lq_core import lifecycle
from lq_core.clock import utc_now
from lq_core.identity import new_id
from lq_core.queue import Claim, Swap, WorkerInfo
from lq_core.record import QueuedTaskRecord
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers import PostgresServer, find_installation

ROUNDS: Final = 3
RAW_TABLE: Final = "CREATE TABLE raw (id uuid PRIMARY KEY, queue text, priority int, due timestamptz, arguments text)"
RAW_INSERT: Final = "INSERT INTO raw VALUES ($1, $2, $3, $4, $5)"
RAW_BULK: Final = "INSERT INTO raw SELECT t.id, $2, $3, $4, $5 FROM unnest($1::uuid[]) AS t(id)"
FINISHED: Final = 1_000_000


def a_record() -> QueuedTaskRecord:
    at = utc_now()
    return QueuedTaskRecord(id=new_id(), task_name="noop", created_at=at, scheduled_at=at, timeout=30.0)


async def rate(jobs: int, work: Callable[[], Awaitable[object]]) -> float:
    """How many of *jobs* a second."""
    began = perf_counter()
    _ = await work()
    return jobs / (perf_counter() - began)


class Bench:
    """The measures, on one open backend."""

    def __init__(self, backend: PostgresQueueBackend) -> None:
        self.backend = backend

    async def raw_one_by_one(self) -> float:
        async def work() -> None:
            async with self.backend.connections.lent() as connection:
                for _ in range(1000):
                    _ = await connection.fetch(RAW_INSERT, new_id(), "default", 0, utc_now(), "{}")

        return await rate(1000, work)

    async def one_by_one(self) -> float:
        async def work() -> None:
            for _ in range(1000):
                _ = await self.backend.insert([a_record()])

        return await rate(1000, work)

    async def callers(self) -> float:
        async def caller() -> None:
            for _ in range(400):
                _ = await self.backend.insert([a_record()])

        return await rate(20_000, lambda: asyncio.gather(*(caller() for _ in range(50))))

    async def raw_bulk(self) -> float:
        async def work() -> None:
            async with self.backend.connections.lent() as connection:
                for _ in range(20):
                    ids = [new_id() for _ in range(1000)]
                    _ = await connection.fetch(RAW_BULK, ids, "default", 0, utc_now(), "{}")

        return await rate(20_000, work)

    async def bulk(self) -> float:
        batches = [[a_record() for _ in range(1000)] for _ in range(20)]

        async def work() -> None:
            for batch in batches:
                _ = await self.backend.insert(batch)

        return await rate(20_000, work)

    async def statements(self, size: int) -> float:
        """Settle and claim with nothing between: what a worker could do at most."""
        claim = Claim(worker_id="bench", limit=size, execution_backends=("local",))
        jobs = min(20_000, 300 * size)

        async def work() -> None:
            swaps: Sequence[Swap] = ()
            for _ in range(jobs // size):
                _, claimed = await self.backend.settle_and_claim(swaps, claim)
                at = self.backend.now()
                swaps = [
                    Swap(record=lifecycle.complete(record, result="true", at=at), epoch=record.epoch)
                    for record in claimed.records
                ]
            _ = await self.backend.settle_and_claim(swaps, None)

        return await rate(jobs, work)


async def main(dsn: str) -> None:
    """Measure and print."""
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=dsn))
    await backend.open()
    at = backend.now()
    await backend.register(WorkerInfo(id="bench", started_at=at, seen_at=at))
    _ = await backend.connections.fetch(RAW_TABLE)
    bench = Bench(backend)
    best: dict[str, float] = {}

    async def measure(name: str, measured: Awaitable[float]) -> None:
        best[name] = max(best.get(name, 0.0), await measured)

    for _ in range(ROUNDS):
        await measure("raw one by one", bench.raw_one_by_one())
        await measure("one by one", bench.one_by_one())
        await measure("50 callers", bench.callers())
        await measure("raw bulk", bench.raw_bulk())
        await measure("bulk", bench.bulk())
        for size in (10, 50, 100):
            await measure(f"settle and claim {size}", bench.statements(size))
    _ = await backend.connections.fetch("TRUNCATE lq.records")
    await fill(backend)
    for _ in range(ROUNDS):
        _ = await bench.bulk()
        await measure("settle and claim 50, 1,000,000 finished beside", bench.statements(50))
    for name, value in best.items():
        print(f"{name:50} {value:12,.0f}/s")
    print(f"one by one / raw: {best['one by one'] / best['raw one by one']:.2f}")
    beside = best["settle and claim 50, 1,000,000 finished beside"]
    print(f"claims with 1,000,000 finished beside / without: {beside / best['settle and claim 50']:.2f}")
    await backend.close()


async def fill(backend: PostgresQueueBackend) -> None:
    for _ in range(FINISHED // 1000):
        _ = await backend.insert([lifecycle.complete(a_running(), result="true", at=utc_now()) for _ in range(1000)])
    async with backend.connections.lent() as connection:
        _ = await connection.execute("VACUUM ANALYZE lq.records", timeout=300)


def a_running() -> QueuedTaskRecord:
    return lifecycle.claim(a_record(), worker_id="bench", at=utc_now())


if __name__ == "__main__":
    version = int(sys.argv[1]) if len(sys.argv) > 1 else None
    with PostgresServer(find_installation(version), durable=True) as server:
        asyncio.run(main(server.create_database("bench")))
