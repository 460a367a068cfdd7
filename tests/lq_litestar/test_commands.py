"""``litestar queues`` as a program."""

import signal
import sys
from pathlib import Path

from programs import Answer, run, running
from sqlite_file import SQLiteFile

LITESTAR = (sys.executable, "-m", "litestar", "--app", "shop_app:app", "queues")


async def queues(folder: Path, *words: str) -> Answer:
    return await run(*LITESTAR, *words, folder=folder)


async def test_the_commands_are_those_of_lq(folder: Path) -> None:
    answer = await queues(folder, "--help")

    names = answer.out.partition("Commands:")[2]
    assert [line.split()[0] for line in names.splitlines() if line.startswith("  ") and line[2] != " "] == [
        *("backup", "doctor", "drain", "enqueue", "events", "limit", "list", "migrate", "pause", "records", "resume"),
        *("schedules", "stats", "tasks", "worker", "workers"),
    ]


async def test_the_commands_use_the_queue_of_the_application(folder: Path) -> None:
    record = await SQLiteFile(folder / "shop.db").put("shop.wait")

    listed = await queues(folder, "records", "list")
    cancelled = await queues(folder, "records", "cancel", str(record.id))

    assert str(record.id) in listed.out
    assert cancelled.out == f"{record.id}  cancelled\n"


async def test_the_tasks_of_the_application_are_known(folder: Path) -> None:
    answer = await queues(folder, "tasks")

    assert "shop.meet  (me: str, other: str) -> int" in answer.out


async def test_a_separate_worker_lets_tasks_finish_on_ctrl_c(folder: Path) -> None:
    file = SQLiteFile(folder / "shop.db")
    record = await file.put("shop.wait", execution_backend="local")

    async with running(*LITESTAR, "worker", folder=folder) as worker:
        await worker.line_with("waiting")
        worker.send(signal.SIGINT)
        await worker.line_with("Stopping: 1 still runs")
        (folder / "gate").touch()
        assert await worker.end() == 0

    assert (await file.read(record.id)).status == "completed"


async def test_the_advice_of_the_doctor_can_be_run_as_printed(folder: Path) -> None:
    (folder / "shop.db").touch()
    advised = (await queues(folder, "doctor")).out.partition("Run: python -m litestar ")[2].split()
    migrated = await run(sys.executable, "-m", "litestar", *advised, folder=folder)

    assert (migrated.code, "is up to date" in migrated.out) == (0, True)


async def test_an_error_of_lq_is_reported_without_a_traceback(folder: Path) -> None:
    answer = await queues(folder, "stats")

    assert (answer.code, "There is no queue at" in answer.err, "Traceback" in answer.err) == (1, True, False)
    assert "LQ_SQLITE_PATH" not in answer.err


OFFICE = """
from collections.abc import AsyncGenerator

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from lq_core import INJECTED, QueueConfig, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_litestar import QueuePlugin


class Database:
    pass


async def database(state: State) -> AsyncGenerator[Database]:
    print("opened in", state.place, flush=True)
    yield Database()


async def start(app: Litestar) -> None:
    app.state.place = "the lifespan"


@task(name="office.store")
async def store(*, db: Database = INJECTED) -> None:
    print("stored in", type(db).__name__, flush=True)


config = QueueConfig(queue_backend=SQLiteConfig(path="office.db"))
app = Litestar(plugins=[QueuePlugin(config)], dependencies={"db": Provide(database)}, on_startup=[start])
"""


async def test_a_separate_worker_has_the_lifespan_and_the_dependencies_of_the_application(tmp_path: Path) -> None:
    (tmp_path / "office.py").write_text(OFFICE)
    file = SQLiteFile(tmp_path / "office.db")
    record = await file.put("office.store", execution_backend="local")

    async with running(
        sys.executable, "-m", "litestar", "--app", "office:app", "queues", "worker", folder=tmp_path
    ) as worker:
        await worker.said("opened in the lifespan")
        await worker.said("stored in Database")
        assert await worker.end(signal.SIGTERM) == 0

    assert (await file.read(record.id)).status == "completed"


async def test_a_separate_worker_can_leave_the_lifespan_out(tmp_path: Path) -> None:
    (tmp_path / "office.py").write_text(OFFICE)
    file = SQLiteFile(tmp_path / "office.db")
    record = await file.put("office.store", execution_backend="local")

    command = (sys.executable, "-m", "litestar", "--app", "office:app", "queues", "worker", "--no-lifespan")
    async with running(*command, folder=tmp_path) as worker:
        await worker.line_with("MissingProviderError")
        assert await worker.end(signal.SIGTERM) == 0

    assert (await file.read(record.id)).status == "failed"
