"""
What one record costs a durable PostgreSQL and its clients: processor time, write-ahead log and disk.

``./dev bench capacity``; ``--write`` writes the numbers to docs/examples/capacity.json, for docs/examples/capacity.py.
Each payload has a database of its own, and is text that does not compress. Of each number, the best of the rounds
counts. The disk is what a round adds, because the table uses the pages of old versions again.
"""

import asyncio
import platform
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from os import cpu_count, sysconf
from pathlib import Path
from secrets import token_urlsafe
from time import perf_counter, process_time
from typing import Final, cast

from fixture import ARRIVALS
from msgspec import Struct, json

from lq_core import QueueConfig, QueueService, TaskStatus, Worker, task
from lq_core.worker.sweeps import PAGE
from lq_postgres import PostgresConfig, PostgresQueueBackend
from programs import until
from servers import PostgresServer, find_installation

RESULTS: Final = Path(__file__).parents[2] / "docs/examples/capacity.json"
PAYLOADS: Final = (100, 5_000)
RECORDS: Final = 10_000
ROUNDS: Final = 5
CALLERS: Final = 50
ALONE: Final = 1_500
TICK: Final = 1 / sysconf("SC_CLK_TCK")

WAL: Final = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"
SIZE: Final = "SELECT pg_total_relation_size('lq.records')"


@task(name="capacity.measured", timeout=30)
async def measured(text: str) -> bool:
    """Do nothing with a text."""
    ARRIVALS.count()
    return bool(text)


class Cost(Struct, frozen=True):
    """The cost of one record in one step."""

    server_us: float
    """Microseconds of processor time of the server."""

    client_us: float
    wal_bytes: float
    per_second: float
    """How many records passed here in a second."""


class Costs(Struct, frozen=True):
    """The costs of one record with arguments of so many bytes."""

    payload: int
    enqueue_alone: Cost
    """One caller, which waits for each commit."""

    enqueue: Cost
    """50 callers at once."""

    run: Cost
    """One worker, concurrency 50, with the result stored."""

    delete: Cost
    """What a worker does when the retention is over."""

    stored: "Stored"


class Stored(Struct, frozen=True):
    """What one ended record takes on the disk, with its indexes."""

    disk_bytes: float


class Results(Struct, frozen=True):
    """All measurements, and where they were made."""

    measured: str
    machine: str
    costs: list[Costs]


def server_seconds(server: PostgresServer) -> float:
    """Return the processor time of a server and all its processes, ended ones included."""
    main = int((server.directory / "data/postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    return sum(_ticks(pid) for pid in (main, *map(int, children))) * TICK


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))  # Its own time, and that of its ended children.


class Meter:
    """Measures steps on one server."""

    def __init__(self, server: PostgresServer, service: QueueService) -> None:
        self._server = server
        self._service = service

    async def number(self, sql: str) -> float:
        """Read a number from the database."""
        backend = cast("PostgresQueueBackend", self._service.queue_backend)
        return float((await backend.connections.fetch(sql))[0][0])

    async def cost(self, records: int, step: Callable[[], Awaitable[object]]) -> Cost:
        """Take a step for so many records, and return the cost of each."""
        server, wal, client, began = await self._now()
        await step()
        server_after, wal_after, client_after, ended = await self._now()
        return Cost(
            server_us=round((server_after - server) / records * 1e6, 1),
            client_us=round((client_after - client) / records * 1e6, 1),
            wal_bytes=round((wal_after - wal) / records),
            per_second=round(records / (ended - began)),
        )

    async def _now(self) -> tuple[float, float, float, float]:
        return server_seconds(self._server), await self.number(WAL), process_time(), perf_counter()


@asynccontextmanager
async def metered(server: PostgresServer, database: str) -> AsyncGenerator[tuple[QueueService, Meter]]:
    config = QueueConfig(queue_backend=PostgresConfig(dsn=server.create_database(database)), concurrency=CALLERS)
    async with QueueService(config) as service:
        yield service, Meter(server, service)


async def measure(server: PostgresServer, payload: int) -> Costs:
    """Enqueue and run rounds of records."""
    text = token_urlsafe(payload)[:payload]
    async with metered(server, f"capacity_{payload}") as (service, meter):

        async def enqueue(times: int) -> None:
            for _ in range(times):
                await service.enqueue(measured, text)

        async def enqueue_at_once() -> None:
            await asyncio.gather(*(enqueue(RECORDS // CALLERS) for _ in range(CALLERS)))

        async def run(records: int) -> None:
            ARRIVALS.expect(records)
            async with Worker(service):
                await ARRIVALS.complete.wait()

        async def delete() -> None:
            for _ in range(RECORDS // PAGE):
                await service.queue_backend.delete_ended(
                    status=TaskStatus.COMPLETED, before=service.queue_backend.now(), limit=PAGE
                )

        sizes: list[float] = []
        alone, at_once, ran, deleted = [list[Cost]() for _ in range(4)]
        for _ in range(ROUNDS):
            alone.append(await meter.cost(ALONE, lambda: enqueue(ALONE)))
            await run(ALONE)
            at_once.append(await meter.cost(RECORDS, enqueue_at_once))
            ran.append(await meter.cost(RECORDS, lambda: run(RECORDS)))
            await vacuum(service)
            sizes.append(await meter.number(SIZE))
        kept = (await service.statistics()).total(TaskStatus.COMPLETED)
        assert kept == ROUNDS * (ALONE + RECORDS)
        for _ in range(ROUNDS):
            deleted.append(await meter.cost(RECORDS, delete))
        disk = round((sizes[-1] - sizes[0]) / (ROUNDS - 1) / (ALONE + RECORDS))
    return Costs(
        payload=payload,
        enqueue_alone=best(alone),
        enqueue=best(at_once),
        run=best(ran),
        delete=best(deleted),
        stored=Stored(disk),
    )


def best(found: Sequence[Cost]) -> Cost:
    """Return the best of each number: other programs on the machine only add to it."""
    return Cost(
        server_us=min(one.server_us for one in found),
        client_us=min(one.client_us for one in found),
        wal_bytes=min(one.wal_bytes for one in found),
        per_second=max(one.per_second for one in found),
    )


async def vacuum(service: QueueService) -> None:
    """Vacuum when the worker has stored everything."""

    async def all_ended() -> bool:
        return not (await service.statistics()).total(TaskStatus.RUNNING)

    await until(all_ended, what="every record has ended")
    async with cast("PostgresQueueBackend", service.queue_backend).connections.lent() as connection:
        await connection.execute("VACUUM ANALYZE lq.records", timeout=120)


def main() -> None:
    """Measure, print, and write the results if asked to."""
    with PostgresServer(find_installation(), durable=True) as server:
        costs = [asyncio.run(measure(server, payload)) for payload in PAYLOADS]
        version = server.installation.version
    machine = (
        f"Python {platform.python_version()} and PostgreSQL {version}, fsync and synchronous_commit on, on "
        f"{platform.system()} with {cpu_count()} cores, which the server shares"
    )
    results = json.format(json.encode(Results(str(datetime.now(UTC).date()), machine, costs)), indent=2)
    print(results.decode())
    if "--write" in sys.argv[1:]:
        RESULTS.write_bytes(results + b"\n")


if __name__ == "__main__":
    main()
