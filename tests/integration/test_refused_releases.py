"""What a worker claims and must not run keeps a slot for as long as its release cannot be stored."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from lq_core import QueueConfig, QueuedTaskRecord, QueueService, TaskStatus, Worker, task
from lq_core.contracts import a_record
from lq_core.queue.sqlite import SQLiteConfig
from programs import until

SLOTS = 2
REFUSE = """
CREATE TRIGGER refused BEFORE UPDATE ON records WHEN NEW.status = 'pending' BEGIN SELECT RAISE(ABORT, 'refused'); END
"""
ACCEPT = "DROP TRIGGER refused"
UNKNOWN = "refused_releases.unknown"


@task(name="refused_releases.work")
async def work() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lq.db"


@pytest.fixture
async def service(path: Path) -> AsyncIterator[QueueService]:
    config = QueueConfig(
        queue_backend=SQLiteConfig(path=path), concurrency=SLOTS, poll_interval=0.05, shutdown_grace=0.1
    )
    async with QueueService(config) as service:
        yield service


def run_sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


async def most_running(service: QueueService, caplog: pytest.LogCaptureFixture, event: str) -> int:
    """Wait until a release could not be stored twice, and count the records that ran at the same time."""
    running = 0

    async def tried_twice() -> bool:
        nonlocal running
        running = max(running, (await service.statistics()).total(TaskStatus.RUNNING))
        return sum(vars(entry).get("event") == event for entry in caplog.records) >= 2 * SLOTS

    await until(tried_twice, what="a release could not be stored twice")
    return running


async def all_wait(service: QueueService, records: list[QueuedTaskRecord]) -> None:
    async def are_pending() -> bool:
        found = await service.queue_backend.get_many([record.id for record in records])
        return sum(record.status is TaskStatus.PENDING and record.epoch > 1 for record in found) >= len(records) - 1

    await until(are_pending, what="all have been released, but for one that may run")


async def test_records_that_must_run_apart_keep_their_slots(
    service: QueueService, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [a_record(task_name=work.name, losses=2) for _ in range(10)]
    await service.queue_backend.insert(records)
    run_sql(path, REFUSE)

    async with Worker(service):
        assert await most_running(service, caplog, "record.release_delayed") <= SLOTS
        run_sql(path, ACCEPT)
        await all_wait(service, records)


async def test_records_of_unknown_tasks_keep_slots(
    service: QueueService, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [first, *others] = [a_record(task_name=UNKNOWN) for _ in range(10)]
    await service.queue_backend.insert([first])

    async with Worker(service):
        await all_wait(service, [first, first])
        run_sql(path, REFUSE)
        await service.queue_backend.insert(others)
        assert await most_running(service, caplog, "record.not_passed_on") <= SLOTS
        run_sql(path, ACCEPT)
        await all_wait(service, others)
