"""Several processes share one SQLite file: no error, nothing twice, nothing lost, also when one is killed."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest

from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from lq_core.testing import a_record, opened

HAMMER = Path(__file__).with_name("hammer.py")


def hammer(what: str, path: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Start one process."""
    command = [sys.executable, str(HAMMER), what, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a process that has to end well, and read the ids it has said."""
    out, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (0, "")
    *ids, done = out.split()
    assert done == "done"
    return ids


def test_processes_that_enqueue_and_drain_do_everything_once(tmp_path: Path) -> None:
    """Two that enqueue, three that drain, and each record is completed by one of them."""
    path = tmp_path / "lq.db"
    enqueuers = [hammer("enqueue", path, f"e{number}", 100) for number in range(2)]
    drainers = [hammer("drain", path, f"d{number}", 200) for number in range(3)]

    enqueued = [record_id for process in enqueuers for record_id in said(process)]
    drained = Counter(record_id for process in drainers for record_id in said(process))

    assert len(enqueued) == 200
    assert drained == Counter(enqueued)


def test_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """One of them makes the schema, and the others wait for it."""
    processes = [hammer("open", tmp_path / "lq.db", f"p{number}", 0) for number in range(8)]

    assert [said(process) for process in processes] == [[]] * 8


async def test_what_was_answered_survives_a_killed_process(tmp_path: Path) -> None:
    """Every insert that was answered is there afterwards."""
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
async def test_work_of_another_process_wakes_who_waits(tmp_path: Path, synchronous: str) -> None:
    """Long before the next look would be due."""
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
