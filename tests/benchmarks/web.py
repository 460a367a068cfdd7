"""
How fast the pages and the API answer beside a million records, on SQLite and on PostgreSQL: ``./dev bench web``.

It takes some minutes, so it is not among the measurements of ``./dev bench``.
"""

import asyncio
import random
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Final
from uuid import UUID

import httpx
from figures import Figure, show

from lq_core import QueueConfig, QueuedTaskRecord, QueueService, RecordFilter, TaskFailure, TaskStatus, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.records.identity import new_id
from lq_postgres import PostgresConfig
from lq_web import WebConfig, create_app
from servers import PostgresServer, find_installation

RECORDS: Final = 1_000_000
BATCH: Final = 5_000
REQUESTS: Final = 40
PAGE_GOAL: Final = 200.0
API_GOAL: Final = 50.0
QUEUES: Final = ("export", "images", "import", "mail", "reports", "search")
OTHERS: Final = {
    TaskStatus.FAILED: 0.02,
    TaskStatus.CANCELLED: 0.01,
    TaskStatus.PENDING: 0.05,
    TaskStatus.RUNNING: 0.000_05,
}
"""The shares of the records that have not completed."""

ACTIVE: Final = (TaskStatus.PENDING, TaskStatus.RUNNING)
FAILURE: Final = TaskFailure(type="ValueError", message="The address has no @.", traceback="Traceback\n" * 20)


@task(name="web.work")
async def work(tenant: int) -> int:
    """Stand in for the task of the records."""
    return tenant


def measure() -> list[Figure]:
    """Measure every page and route on each store that other programs can look at."""
    figures: list[Figure] = []
    for name, config in _stores():
        figures += asyncio.run(_of(name, config))
    return figures


@contextmanager
def _sqlite() -> Generator[QueueConfig]:
    with tempfile.TemporaryDirectory(prefix="lq-benchmark-") as room:
        yield QueueConfig(queue_backend=SQLiteConfig(path=Path(room) / "lq.db"))


@contextmanager
def _postgres() -> Generator[QueueConfig]:
    with PostgresServer(find_installation()) as server:
        yield QueueConfig(queue_backend=PostgresConfig(dsn=server.create_database("web")))


def _stores() -> Iterator[tuple[str, QueueConfig]]:
    for name, opened in (("SQLite", _sqlite), ("PostgreSQL", _postgres)):
        if not {"--sqlite", "--postgres"} & set(sys.argv) or f"--{opened.__name__.strip('_')}" in sys.argv:
            with opened() as config:
                yield name, config


async def _of(name: str, config: QueueConfig) -> list[Figure]:
    async with QueueService(config) as service:
        await _fill(service)
        [failed] = await service.find(RecordFilter(statuses=(TaskStatus.FAILED,)), limit=1)
        async with _client(service) as client:
            return [
                Figure(f"{name}, {path}", await _p95(client, path), "ms", API_GOAL if "/api" in path else PAGE_GOAL)
                for path in (*_pages(failed.id), *_routes(failed.id))
            ]


def _pages(record: UUID) -> tuple[str, ...]:
    searches = (
        "",
        "?status=failed",
        "?status=pending&queue=mail",
        "?status=completed&queue=mail",
        "?status=pending&queue=nowhere",
        "?status=completed&queue=nowhere",
        "?status=running",
        "?text=tenant",
        "?value=metadata.tenant=7",
    )
    others = ("", f"records/{record}", "queues", "schedules", "workers", "history?minutes=2880")
    return (*(f"/queues/records{search}" for search in searches), *(f"/queues/{path}" for path in others))


def _routes(record: UUID) -> tuple[str, ...]:
    searches = ("", "?status=failed", "?status=pending&queue=mail", "?value=metadata.tenant=7")
    others = (
        f"records/{record}",
        *("overview", "history", "actions", "queues", "schedules", "workers", "findings", "tasks"),
    )
    return (*(f"/queues/api/records{search}" for search in searches), *(f"/queues/api/{path}" for path in others))


async def _p95(client: httpx.AsyncClient, path: str) -> float:
    times: list[float] = []
    for _ in range(REQUESTS):
        began = perf_counter()
        (await client.get(path, headers={"accept": "text/html"})).raise_for_status()
        times.append((perf_counter() - began) * 1000)
    return quantiles(times, n=20)[-1]


@asynccontextmanager
async def _client(service: QueueService) -> AsyncGenerator[httpx.AsyncClient]:
    app = create_app(service, WebConfig(open_to_everyone=True))
    transport = httpx.ASGITransport(app)  # pyright: ignore[reportArgumentType] -- the two describe ASGI in different words
    async with httpx.AsyncClient(transport=transport, base_url="http://queues.test") as client:
        yield client


async def _fill(service: QueueService) -> None:
    now, chance = service.queue_backend.now(), random.Random(7)
    for first in range(0, RECORDS, BATCH):
        await service.queue_backend.insert([_record(first + number, now, chance) for number in range(BATCH)])


def _record(number: int, now: datetime, chance: random.Random) -> QueuedTaskRecord:
    at = now - timedelta(days=2) * (1 - number / RECORDS)
    (status,) = chance.choices([TaskStatus.COMPLETED, *OTHERS], [1 - sum(OTHERS.values()), *OTHERS.values()])
    return QueuedTaskRecord(
        id=new_id(),
        task_name="web.work",
        queue=QUEUES[number % len(QUEUES)],
        arguments=f'{{"tenant":{number % 200}}}',
        metadata={"tenant": str(number % 200)},
        status=status,
        created_at=at,
        scheduled_at=at,
        started_at=None if status is TaskStatus.PENDING else at,
        finished_at=None if status in ACTIVE else at + timedelta(seconds=1),
        worker_id="worker" if status is TaskStatus.RUNNING else None,
        attempt=0 if status is TaskStatus.PENDING else 1,
        result="7" if status is TaskStatus.COMPLETED else None,
        error=FAILURE if status is TaskStatus.FAILED else None,
    )


if __name__ == "__main__":
    show(measure())
