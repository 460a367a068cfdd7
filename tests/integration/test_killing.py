"""Workers that die without a word: what they ran is finished once, by another."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from lq_core import QueueConfig, QueueService, TaskStatus, Worker, task
from lq_core.contracts import a_worker
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from servers import PostgresServer

PROGRAM = """
import asyncio, sys
from lq_core import QueueConfig, QueueService, Worker
from lq_core.queue.sqlite import SQLiteConfig

config = QueueConfig(
    queue_backend=SQLiteConfig(path=sys.argv[1]), heartbeat_interval=0.1, heartbeat_timeout=1.0, concurrency=3
)

import test_killing

async def main():
    async with QueueService(config) as service, Worker(service):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@task(name="killing.mark")
async def mark(place: str, number: int, *, linger: bool) -> int:
    """Leave a line that says the task has begun; the first time, wait to be killed."""
    folder = Path(place)
    with (folder / "begun").open("a") as begun:
        begun.write(f"{number} {os.getpid()}\n")
    if linger and not (folder / "second").exists():
        await asyncio.Event().wait()
    with (folder / "done").open("a") as done:
        done.write(f"{number}\n")
    return number


def a_process(program: str, file: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, text=True, env=environment
    )


@contextmanager
def a_worker_process(file: Path, program: str = PROGRAM) -> Generator[subprocess.Popen[str]]:
    process = a_process(program, file)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def config(tmp_path: Path) -> QueueConfig:
    return QueueConfig(
        queue_backend=SQLiteConfig(path=tmp_path / "lq.db"), heartbeat_interval=0.1, heartbeat_timeout=1.0
    )


async def until_lines(file: Path, count: int) -> None:
    """Wait for another process to have written so many lines."""

    def lines() -> int:
        return len(file.read_text().splitlines()) if file.exists() else 0

    async with asyncio.timeout(20):
        while lines() < count:  # noqa: ASYNC110 -- another process writes
            await asyncio.sleep(0.01)  # Nothing tells us but the file.


async def test_a_record_whose_worker_is_killed_is_finished_once_by_another(config: QueueConfig, tmp_path: Path) -> None:
    with a_worker_process(tmp_path / "lq.db") as doomed:
        async with QueueService(config) as service:
            sent = await service.enqueue_many(mark.call(str(tmp_path), number, linger=True) for number in range(3))
            await until_lines(tmp_path / "begun", 3)

            doomed.send_signal(signal.SIGKILL)
            doomed.wait()
            (tmp_path / "second").touch()
            async with Worker(service):
                results = [await one.wait(timeout=30) for one in sent]

    assert results == [0, 1, 2]
    assert sorted((tmp_path / "done").read_text().split()) == ["0", "1", "2"]
    assert {(one.record.attempt, one.record.losses, one.record.retry_count) for one in sent} == {(2, 1, 0)}
    assert {entry.event for one in sent for entry in one.record.history} == {"lost"}


@pytest.fixture(params=["sqlite", "postgres"])
def patient(request: pytest.FixtureRequest, tmp_path: Path) -> QueueConfig:
    """On a shared store, with workers that are declared dead only after an hour."""
    if request.param == "sqlite":
        backend = SQLiteConfig(path=tmp_path / "lq.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        backend = PostgresConfig(dsn=server.create_database(f"killing_{uuid4().hex}"))
    return QueueConfig(queue_backend=backend, heartbeat_interval=0.1, heartbeat_timeout=3600.0)


async def test_the_records_of_a_dead_process_on_this_host_are_rescued_at_once(
    patient: QueueConfig, tmp_path: Path
) -> None:
    program = PROGRAM.replace("heartbeat_timeout=1.0", "heartbeat_timeout=3600.0")
    if isinstance(patient.queue_backend, PostgresConfig):
        program = program.replace(
            "SQLiteConfig(path=sys.argv[1])", f"PostgresConfig(dsn={patient.queue_backend.dsn!r})"
        )
        program = program.replace("lq_core.queue.sqlite import SQLiteConfig", "lq_postgres import PostgresConfig")
    with a_worker_process(tmp_path / "lq.db", program) as doomed:
        async with QueueService(patient) as service:
            sent = await service.enqueue(mark, str(tmp_path), 1, linger=True)
            await until_lines(tmp_path / "begun", 1)
            elsewhere = a_worker(f"{socket.gethostname()}-{uuid4().hex}")
            await service.queue_backend.register(elsewhere)  # The same host name, in another container.

            doomed.send_signal(signal.SIGKILL)
            doomed.wait()
            (tmp_path / "second").touch()
            async with Worker(service) as worker:
                assert await sent.wait(timeout=30) == 1
                alive = {info.id for info in await service.workers()}

    assert (sent.record.attempt, sent.record.losses) == (2, 1)
    assert alive == {worker.worker_id, elsewhere.id}


async def test_a_worker_that_slept_through_its_heartbeat_does_not_record_its_outcome(
    config: QueueConfig, tmp_path: Path
) -> None:
    with a_worker_process(tmp_path / "lq.db") as sleeper:
        async with QueueService(config) as service:
            sent = await service.enqueue(mark, str(tmp_path), 1, linger=True)
            await until_lines(tmp_path / "begun", 1)
            sleeper.send_signal(signal.SIGSTOP)
            (tmp_path / "second").touch()
            async with Worker(service):
                assert await sent.wait(timeout=30) == 1
                settled = await service.get(sent.id)

                sleeper.send_signal(signal.SIGCONT)
                again = await service.enqueue_many(
                    mark.call(str(tmp_path), number, linger=False) for number in range(2, 8)
                )
                assert [await one.wait(timeout=30) for one in again] == [2, 3, 4, 5, 6, 7]

                assert await service.get(sent.id) == settled
    assert settled is not None
    assert (settled.status, settled.attempt) == (TaskStatus.COMPLETED, 2)


async def test_a_producer_that_is_killed_leaves_whole_records_behind(config: QueueConfig, tmp_path: Path) -> None:
    program = PROGRAM.replace(", Worker(service)", "").replace(
        "await asyncio.Event().wait()",
        "for number in range(10**6): await service.enqueue(test_killing.mark, 'x', number, linger=False)",
    )
    producer = a_process(program, tmp_path / "lq.db")
    async with QueueService(config) as service:
        async with asyncio.timeout(20):
            while (await service.statistics()).total(TaskStatus.PENDING) < 50:  # noqa: ASYNC110 -- another process enqueues
                await asyncio.sleep(0.01)  # Nothing tells us but the file.
        producer.kill()
        producer.communicate()
        records = await service.find(limit=1000)

        stored = (await service.statistics()).total(TaskStatus.PENDING)

    numbers = sorted(int(record.arguments.split('"number":')[1].split(",")[0]) for record in records)
    assert len(records) == min(stored, 1000)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
