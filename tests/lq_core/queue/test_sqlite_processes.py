"""Several processes share one SQLite file: no error, no duplicate, no loss, also when one is killed."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from lq_core.contracts import a_record, opened
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend

HAMMER = Path(__file__).with_name("hammer.py")


def hammer(what: str, path: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Start one process."""
    command = [sys.executable, str(HAMMER), what, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a process to end without an error, and read the ids that it printed."""
    out, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (0, "")
    *ids, done = out.split()
    assert done == "done"
    return ids


def test_processes_that_enqueue_and_drain_do_everything_once(tmp_path: Path) -> None:
    """Two processes enqueue, three drain, and each record is completed once."""
    path = tmp_path / "lq.db"
    enqueuers = [hammer("enqueue", path, f"e{number}", 100) for number in range(2)]
    drainers = [hammer("drain", path, f"d{number}", 200) for number in range(3)]

    enqueued = [record_id for process in enqueuers for record_id in said(process)]
    drained = Counter(record_id for process in drainers for record_id in said(process))

    assert len(enqueued) == 200
    assert drained == Counter(enqueued)


def test_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """One process creates the schema, and the others wait for it."""
    processes = [hammer("open", tmp_path / "lq.db", f"p{number}", 0) for number in range(8)]

    assert [said(process) for process in processes] == [[]] * 8


async def test_answered_inserts_survive_a_killed_process(tmp_path: Path) -> None:
    """Every answered insert is stored."""
    path = tmp_path / "lq.db"
    process = hammer("enqueue", path, "e", 1_000_000)
    assert process.stdout is not None
    answered = [process.stdout.readline().strip() for _ in range(40)]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)

    async with opened(SQLiteQueueBackend(settings=SQLiteConfig(path=path))) as queue:
        found = await queue.get_many([UUID(record_id) for record_id in answered])

    assert sorted(str(record.id) for record in found) == sorted(answered)


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_work_of_another_process_wakes_waiting_workers(tmp_path: Path, synchronous: str) -> None:
    """The wake-up comes long before the next poll."""
    settings = SQLiteConfig(path=tmp_path / "lq.db", synchronous="FULL" if synchronous == "FULL" else "NORMAL")
    async with (
        opened(SQLiteQueueBackend(settings=settings)) as worker,
        opened(SQLiteQueueBackend(settings=settings)) as application,
    ):
        await worker.statistics()
        waiting = asyncio.create_task(worker.wait_for_work(worker.changes, timeout=60))
        await asyncio.sleep(0)

        await application.insert([a_record()])

        async with asyncio.timeout(10):
            await waiting


async def test_processes_that_copy_their_file_lose_nothing(tmp_path: Path) -> None:
    """Each copy drops the locks of SQLite, and others open and close the file meanwhile."""
    path = tmp_path / "lq.db"
    assert said(hammer("open", path, "first", 0)) == []
    copying = [hammer("copy", path, f"c{number}", 150) for number in range(2)]
    while any(process.poll() is None for process in copying):
        with closing(sqlite3.connect(path)) as outsider:
            outsider.execute("SELECT count(*) FROM records").fetchone()
    acknowledged = [record_id for process in copying for record_id in said(process)]

    async with opened(SQLiteQueueBackend(settings=SQLiteConfig(path=path))) as queue:
        found = await queue.get_many([UUID(record_id) for record_id in acknowledged])

    assert len(acknowledged) == 300
    assert sorted(str(record.id) for record in found) == sorted(acknowledged)
