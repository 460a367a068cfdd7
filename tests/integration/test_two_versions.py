"""A deploy, rehearsed: the version before and the code of today work on one database, in both directions."""

import sys
import tarfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from lq_core import QueueConfig, QueueService, RecordFilter, TaskFailure, TaskStatus, task
from lq_core.contracts import a_record
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.records import lifecycle
from lq_postgres import PostgresConfig
from programs import Program, run, running, until
from servers import PostgresServer

HERE: Final = Path(__file__).parents[1] / "support" / "version_before"
ARCHIVE: Final = HERE / "0.1.0.tar.xz"
DUE: Final = 9
"""Every record that a process leaves, except the one that is due in an hour."""


@task(name="versions.who")
async def who(number: int) -> str:
    raise NotImplementedError("It runs in other processes.")


class Versions:
    """Processes of both versions, on one database."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self._folder = folder
        self._before = folder / "before"
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(self._before, filter="data")
        backend = PostgresConfig(dsn=address) if "://" in address else SQLiteConfig(path=Path(address))
        self.service = QueueService(QueueConfig(queue_backend=backend))

    async def leave(self, name: str) -> None:
        """Enqueue records of every kind."""
        command = (sys.executable, HERE / "application.py", name, self.address, "leave")
        answer = await run(*command, folder=self._folder, PYTHONPATH=self._path(name))
        assert (answer.code, str(self._before) in answer.out) == (0, name == "before"), answer.err

    @asynccontextmanager
    async def worker(self, name: str) -> AsyncGenerator[Program]:
        """Run a worker."""
        command = (sys.executable, HERE / "application.py", name, self.address, "work")
        async with running(*command, folder=self._folder, PYTHONPATH=self._path(name)) as worker:
            assert (str(self._before) in await worker.line_with("working with")) == (name == "before")
            yield worker

    async def results(self) -> dict[str, int]:
        """Wait until every due record has completed, and count the results by the process."""
        due = RecordFilter(statuses=(TaskStatus.PENDING, TaskStatus.RUNNING))

        async def have_ended() -> bool:
            waiting = [record for record in await self.service.find(due) if record.schedule is None]
            return all(record.key is not None for record in waiting)

        await until(have_ended, what="every due record has ended")
        ended = [one for one in await self.service.find(limit=1000) if one.has_ended and one.schedule is None]
        assert {one.status for one in ended} == {TaskStatus.COMPLETED}
        return Counter((one.result or "").strip('"').partition(" ")[0] for one in ended)

    def _path(self, name: str) -> str:
        return str(self._before) if name == "before" else ""


@pytest.fixture(params=["sqlite", "postgres"])
def versions(request: pytest.FixtureRequest, tmp_path: Path) -> Versions:
    if request.param == "sqlite":
        return Versions(str(tmp_path / "lq.db"), tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return Versions(server.create_database(f"versions_{uuid4().hex}"), tmp_path)


async def test_the_new_code_runs_what_the_version_before_has_left(versions: Versions) -> None:
    await versions.leave("before")

    async with versions.service, versions.worker("now"):
        assert await versions.results() == {"now": DUE - 3}


async def test_the_version_before_runs_what_the_new_code_has_left(versions: Versions) -> None:
    """After a rollback: the schema is new, and records have options and events that the old code does not know."""
    await versions.leave("now")
    async with versions.service:
        queue = versions.service.queue_backend
        unread = lifecycle.claim(
            a_record(task_name="versions.who", arguments='{"number":9}'), worker_id="x", at=queue.now()
        )
        failure = TaskFailure(type="UnknownTaskError", message="no such task")
        await queue.insert([lifecycle.pass_on(unread, failure=failure, patience=60, at=queue.now())])

        async with versions.worker("before"):
            assert await versions.results() == {"before": DUE}


async def test_both_versions_work_side_by_side(versions: Versions) -> None:
    """The old worker is there before the migration, and another one comes after it."""
    await versions.leave("before")
    async with versions.worker("before"), versions.worker("now"), versions.worker("before"), versions.service:
        await versions.leave("now")
        await versions.leave("before")

        assert sum((await versions.results()).values()) == 2 * (DUE - 3) + DUE - 1


async def test_a_key_is_held_across_versions(versions: Versions) -> None:
    await versions.leave("before")
    await versions.leave("now")
    await versions.leave("before")
    await versions.leave("now")

    async with versions.service:
        for key in ("of before", "of now"):
            assert len(await versions.service.find(RecordFilter(key=key))) == 1
            assert not (await versions.service.enqueue(who.using(key=key), 1)).created


async def test_a_schedule_that_both_versions_declare_fires_once_for_each_due_time(versions: Versions) -> None:
    ticks = RecordFilter(schedule="versions.tick", statuses=(TaskStatus.COMPLETED,))
    async with versions.worker("before"), versions.worker("now"), versions.service as service:

        async def has_fired() -> bool:
            return len(await service.find(ticks)) >= 3

        await until(has_fired, what="the schedule has fired three times")
        records = await service.find(RecordFilter(schedule="versions.tick"))
        (state,) = await service.schedules()

    due = sorted(record.scheduled_at for record in records)
    assert all(later - earlier == timedelta(seconds=1) for earlier, later in pairwise(due))
    assert (state.name, state.retired) == ("versions.tick", False)
