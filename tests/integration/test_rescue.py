"""What a worker that died has left behind is run by another, and the log names it."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lq_core import QueueConfig, QueueService, TaskResult, TaskStatus, Worker, task
from lq_core.contracts import a_record, a_worker, claimed
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig
from programs import until


@task(name="rescue.work")
async def work() -> None:
    """Do nothing."""


async def test_the_log_names_the_records_of_a_dead_worker(caplog: pytest.LogCaptureFixture) -> None:
    queue = InMemoryQueueBackend()
    await queue.register(a_worker("ghost"))
    left = await claimed(queue, a_record(task_name="rescue.work"), a_record(task_name="rescue.work"), worker_id="ghost")
    await queue.retire("ghost")

    async def all_completed() -> bool:
        found = await queue.get_many([record.id for record in left])
        return all(record.status is TaskStatus.COMPLETED for record in found)

    async with QueueService(QueueConfig(), queue_backend=queue) as service, Worker(service):
        await until(all_completed, what="both have run")

    [told] = [entry.getMessage() for entry in caplog.records if vars(entry).get("event") == "record.rescued"]
    assert told.startswith("record.rescued records=2 record_ids=")
    assert all(str(record.id) in told for record in left)


@task(name="rescue.wait_for_the_lock")
async def wait_for_the_lock() -> str:
    await UNLOCKED.wait()
    return "done"


UNLOCKED = asyncio.Event()


async def test_a_file_that_was_locked_for_all_makes_nobody_dead(tmp_path: Path) -> None:
    """Nobody can beat while another process has locked the file."""
    UNLOCKED.clear()
    path = tmp_path / "lq.db"
    config = QueueConfig(queue_backend=SQLiteConfig(path=path), heartbeat_interval=0.1, heartbeat_timeout=0.5)
    async with QueueService(config) as first, QueueService(config) as second, Worker(first):
        sent = await first.enqueue(wait_for_the_lock)
        await until(lambda: has_started(sent), what="it runs")
        async with Worker(second), QueueService(config) as third:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                starting = Worker(third)
                running = asyncio.create_task(starting.run())
                await asyncio.sleep(1.5)  # Three times the timeout, by the clock of the file.
                other.execute("ROLLBACK")
            await asyncio.sleep(0.5)  # All three workers sweep.
            starting.stop()
            await running
        UNLOCKED.set()
        record = await first.wait(sent.id, timeout=10)

    assert (record.status, record.attempt, record.losses) == (TaskStatus.COMPLETED, 1, 0)


async def has_started(sent: TaskResult[str]) -> bool:
    return (await sent.refresh()).status is TaskStatus.RUNNING
