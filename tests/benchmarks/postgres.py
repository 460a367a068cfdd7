"""
lq on one durable PostgreSQL, compared with raw statements on the same server: ``./dev bench postgres``.

Each round measures the raw loop and lq one after the other, so that both run under the same load. A rate is the best
of all rounds; a comparison is the median of the rounds. The measurements of ``./dev bench postgres_workers`` follow.
``--write`` replaces the table in docs/performance.md.
"""

import asyncio
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from os import cpu_count
from statistics import median
from time import perf_counter
from typing import Final

from figures import Figure, report
from fixture import output
from msgspec import json

from lq_core.foundation.clock import utc_now
from lq_core.queue import Claim, Swap, WorkerInfo
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import QueuedTaskRecord
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers import PostgresServer, find_installation

ROUNDS: Final = 5
RAW_TABLE: Final = "CREATE TABLE raw (id uuid PRIMARY KEY, queue text, priority int, due timestamptz, arguments text)"
RAW_INSERT: Final = "INSERT INTO raw VALUES ($1, $2, $3, $4, $5)"
FINISHED: Final = 1_000_000


def a_record() -> QueuedTaskRecord:
    at = utc_now()
    return QueuedTaskRecord(id=new_id(), task_name="noop", created_at=at, scheduled_at=at, timeout=30.0)


async def rate(jobs: int, work: Callable[[], Awaitable[object]]) -> float:
    """Return the jobs per second."""
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

    async def bulk(self) -> float:
        batches = [[a_record() for _ in range(1000)] for _ in range(20)]

        async def work() -> None:
            for batch in batches:
                _ = await self.backend.insert(batch)

        return await rate(20_000, work)

    async def statements(self, size: int) -> float:
        """Settle and claim with nothing between, the upper limit for a worker."""
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


async def measure(dsn: str) -> list[Figure]:
    """Measure the backend alone, first on an empty table, then beside many ended records."""
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=dsn))
    await backend.open()
    at = backend.now()
    await backend.register(WorkerInfo(id="bench", started_at=at, seen_at=at))
    _ = await backend.connections.fetch(RAW_TABLE)
    bench = Bench(backend)
    raw, alone, callers, bulk, claims, crowded = [list[float]() for _ in range(6)]
    for _ in range(ROUNDS):
        raw.append(await bench.raw_one_by_one())
        alone.append(await bench.one_by_one())
        callers.append(await bench.callers())
        bulk.append(await bench.bulk())
        claims.append(await bench.statements(50))
    _ = await backend.connections.fetch("TRUNCATE lq.records")
    await fill(backend)
    for _ in range(ROUNDS):
        _ = await bench.bulk()
        crowded.append(await bench.statements(50))
    await backend.close()
    return [
        Figure(f"one by one, beside a raw insert and commit ({max(raw):,.0f}/s)", _beside(alone, raw), "times", 0.8),
        Figure("50 callers", max(callers), "/s", 35_000),
        Figure("in bulk, a thousand at a time", max(bulk), "/s", 100_000),
        Figure("settle and claim 50, nothing between", max(claims), "/s"),
        Figure(f"the same beside {FINISHED:,} ended records", median(crowded) / median(claims), "times", 1 / 1.5),
    ]


def _beside(ours: Sequence[float], others: Sequence[float]) -> float:
    return median(mine / other for mine, other in zip(ours, others, strict=True))


async def fill(backend: PostgresQueueBackend) -> None:
    for _ in range(FINISHED // 1000):
        _ = await backend.insert([lifecycle.complete(a_running(), result="true", at=utc_now()) for _ in range(1000)])
    async with backend.connections.lent() as connection:
        _ = await connection.execute("VACUUM ANALYZE lq.records", timeout=300)


def a_running() -> QueuedTaskRecord:
    return lifecycle.claim(a_record(), worker_id="bench", at=utc_now())


def main() -> None:
    """Measure on the version in the arguments, or on the oldest one, and print."""
    wanted = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    with PostgresServer(find_installation(*wanted), durable=True) as server:
        print("Measuring postgres", file=sys.stderr, flush=True)
        figures = asyncio.run(measure(server.create_database("bench")))
    print("Measuring postgres_workers", file=sys.stderr, flush=True)
    figures += json.decode(asyncio.run(output("postgres_workers", "--json", *map(str, wanted))), type=list[Figure])
    machine = (
        f"Measured with Python {platform.python_version()} and PostgreSQL {server.installation.version}, fsync and "
        f"synchronous_commit on, on {platform.system()} with {cpu_count()} cores, which the server shares."
    )
    report(figures, machine, place="postgres")


if __name__ == "__main__":
    main()
