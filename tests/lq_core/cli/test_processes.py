"""``lq worker --processes`` and ``--reload``: processes that are restarted, and end with their supervisor."""

import os
import signal
import sys
from pathlib import Path
from uuid import UUID

import pytest

from programs import Program, run, running, until
from sqlite_file import SQLiteFile

LQ = (sys.executable, "-m", "lq_core")
TASKS = """
import os
from pathlib import Path

from lq_core import task
from shop import queue


@task(name="crash.crash")
async def crash(code: int) -> None:
    if not Path("crashed").exists():
        Path("crashed").touch()
        os._exit(code)


@task(name="crash.answer")
async def answer() -> int:
    return 1
"""


@pytest.fixture
def crashing(folder: Path) -> Path:
    (folder / "crash.py").write_text(TASKS)
    return folder


async def started(worker: Program, number: int) -> None:
    for _ in range(number):
        await worker.line_with("worker.started")


async def workers(folder: Path) -> int:
    return (await run(*LQ, "workers", "--json", folder=folder)).out.count('"id"')


async def test_all_processes_end_at_one_signal(crashing: Path) -> None:
    async with running(*LQ, "worker", "shop:queue", "--processes", "2", folder=crashing) as worker:
        await started(worker, 2)
        both = await workers(crashing)
        code = await worker.end(signal.SIGTERM)

    assert (both, code, "".join(worker.printed).count("Stopped.")) == (2, 0, 2)
    assert await workers(crashing) == 0


async def test_a_dead_process_is_restarted(crashing: Path) -> None:
    file = SQLiteFile(crashing / "lq.db")

    async with running(*LQ, "worker", "crash:queue", "--processes", "1", folder=crashing) as worker:
        await started(worker, 1)
        await file.put("crash.crash", arguments='{"code": 3}')
        await worker.line_with("ended with exit code 3. It is restarted in 0.5 s.")
        await started(worker, 1)
        record = await file.put("crash.answer")
        await until(lambda: has_ended(file, record.id), what="the new process runs the record")
        worker.send(signal.SIGINT)
        code = await worker.end()

    assert code == 0


async def test_a_process_that_was_killed_is_restarted(crashing: Path) -> None:
    async with running(*LQ, "worker", "shop:queue", "--processes", "1", folder=crashing) as worker:
        await started(worker, 1)
        pid = int((await worker.said("Process ")).split()[1])
        os.kill(pid, signal.SIGKILL)
        await worker.line_with(f"Process {pid} was killed by signal 9. It is restarted in 0.5 s.")
        await started(worker, 1)
        assert await worker.end(signal.SIGTERM) == 0


async def test_signals_are_passed_on_and_the_exit_code_is_the_largest(crashing: Path) -> None:
    file = SQLiteFile(crashing / "lq.db")
    record = await file.put("shop.wait")

    async with running(*LQ, "worker", "shop:queue", "--processes", "1", folder=crashing) as worker:
        await worker.line_with("waiting")
        worker.send(signal.SIGTERM)
        await worker.line_with("Stopping: 1 still runs")
        worker.send(signal.SIGTERM)
        await worker.line_with("Interrupting the running tasks.")
        await worker.end()

    back = await file.read(record.id)
    assert (back.status, back.retry_count) == ("pending", 0)


@pytest.mark.parametrize("config", ["nowhere:queue", "shop:number"])
async def test_a_worker_that_cannot_start_is_not_restarted(crashing: Path, config: str) -> None:
    answer = await run(*LQ, "worker", config, "--processes", "2", folder=crashing)

    assert (answer.code, "Error: " in answer.err, "restarted" in answer.err) == (1, True, False)


async def test_the_processes_end_when_their_supervisor_is_killed(crashing: Path) -> None:
    async with running(*LQ, "worker", "shop:queue", "--processes", "1", folder=crashing) as worker:
        await started(worker, 1)
        worker.send(signal.SIGKILL)
        await until(lambda: none_works(crashing), what="the process has stopped")


async def none_works(folder: Path) -> bool:
    return await workers(folder) == 0


async def test_a_changed_file_restarts_the_worker(crashing: Path) -> None:
    file = SQLiteFile(crashing / "lq.db")
    source = crashing / "crash.py"

    async with running(*LQ, "worker", "crash:queue", "--reload", folder=crashing) as worker:
        await started(worker, 1)
        source.write_text(TASKS.replace("return 1", "return ("))
        await worker.line_with("crash.py has changed: restarting.")
        await worker.line_with("cannot start. It is restarted when a file changes.")
        source.write_text(TASKS.replace("return 1", "return 2000"))
        await started(worker, 1)
        record = await file.put("crash.answer")
        await until(lambda: has_ended(file, record.id), what="the new code runs the record")
        code = await worker.end(signal.SIGINT)

    assert (code, (await file.read(record.id)).result) == (0, "2000")


async def has_ended(file: SQLiteFile, record_id: UUID) -> bool:
    return (await file.read(record_id)).has_ended
