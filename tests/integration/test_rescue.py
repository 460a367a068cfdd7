"""What a worker that died has left behind is run by another, and the log names it."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from typing_extensions import override

from lq_core import QueueConfig, QueuedTaskRecord, QueueService, TaskStatus, Worker, task
from lq_core.contracts import a_record, a_worker, claimed
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
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


class Watched(SQLiteQueueBackend):
    """Counts the looks for records of dead workers."""

    looks = 0

    @override
    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        found = await super().orphans(timeout=timeout, limit=limit)
        self.looks += 1
        return found


async def test_a_file_that_was_locked_for_all_makes_nobody_dead(tmp_path: Path) -> None:
    """Nobody can beat while another process has locked the file."""
    UNLOCKED.clear()
    path = tmp_path / "lq.db"
    config = QueueConfig(queue_backend=SQLiteConfig(path=path), heartbeat_interval=0.1, heartbeat_timeout=0.5)
    queues = [Watched(config, settings=SQLiteConfig(path=path)) for _ in range(3)]
    first, second, third = (QueueService(config, queue_backend=queue) for queue in queues)

    async def has_started() -> bool:
        return (await sent.refresh()).status is TaskStatus.RUNNING

    async def all_are_silent() -> bool:
        last = max(worker.seen_at for worker in await first.workers())
        return queues[0].now() - last > timedelta(seconds=3 * config.heartbeat_timeout)

    async def all_have_looked() -> bool:
        return all(queue.looks >= looks + 2 for queue, looks in before.items())

    async with first, second, third, Worker(first):
        sent = await first.enqueue(wait_for_the_lock)
        await until(has_started, what="it runs")
        async with Worker(second):
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                starting = Worker(third)
                running = asyncio.create_task(starting.run())
                await until(all_are_silent, what="no worker was heard of for three times the timeout")
                before = {queue: queue.looks for queue in queues}
                other.execute("ROLLBACK")
            await until(all_have_looked, what="each of the three has looked for dead workers")
            starting.stop()
            await running
        UNLOCKED.set()
        record = await first.wait(sent.id, timeout=10)

    assert (record.status, record.attempt, record.losses) == (TaskStatus.COMPLETED, 1, 0)
