"""``litestar queues``, as a person types it."""

import signal
import sys
from pathlib import Path

from programs import Answer, run, running
from shelf import Shelf

LITESTAR = (sys.executable, "-m", "litestar", "--app", "shop_app:app", "queues")


async def queues(folder: Path, *words: str) -> Answer:
    return await run(*LITESTAR, *words, folder=folder)


async def test_the_commands_are_those_of_lq(folder: Path) -> None:
    answer = await queues(folder, "--help")

    names = answer.out.partition("Commands:")[2]
    assert [line.split()[0] for line in names.splitlines() if line.startswith("  ") and line[2] != " "] == [
        *("doctor", "drain", "limit", "list", "migrate", "pause", "records", "resume", "schedules", "stats", "tasks"),
        *("worker", "workers"),
    ]


async def test_they_are_for_the_queue_of_the_application(folder: Path) -> None:
    record = await Shelf(folder / "shop.db").put("shop.wait")

    listed = await queues(folder, "records", "list")
    cancelled = await queues(folder, "records", "cancel", str(record.id))

    assert str(record.id) in listed.out
    assert cancelled.out == f"{record.id}  cancelled\n"


async def test_the_tasks_of_the_application_are_known(folder: Path) -> None:
    answer = await queues(folder, "tasks")

    assert "shop.meet  (me: str, other: str) -> int" in answer.out


async def test_a_worker_of_its_own_drains_on_ctrl_c(folder: Path) -> None:
    shelf = Shelf(folder / "shop.db")
    record = await shelf.put("shop.wait", execution_backend="local")

    async with running(*LITESTAR, "worker", folder=folder) as worker:
        await worker.line_with("waiting")
        worker.send(signal.SIGINT)
        await worker.line_with("Stopping: 1 still runs")
        (folder / "gate").touch()
        assert await worker.end() == 0

    assert (await shelf.read(record.id)).status == "completed"


async def test_what_a_doctor_advises_can_be_run_as_it_is_written(folder: Path) -> None:
    (folder / "shop.db").touch()
    advised = (await queues(folder, "doctor")).out.partition("Run: python -m litestar ")[2].split()
    migrated = await run(sys.executable, "-m", "litestar", *advised, folder=folder)

    assert (migrated.code, "is up to date" in migrated.out) == (0, True)


async def test_an_error_of_lq_is_told_without_a_traceback(folder: Path) -> None:
    answer = await queues(folder, "stats")

    assert (answer.code, "There is no queue at" in answer.err, "Traceback" in answer.err) == (1, True, False)
    assert "LQ_SQLITE_PATH" not in answer.err
