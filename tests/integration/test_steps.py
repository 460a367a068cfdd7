"""Steps: what a task has done is not done again by its next attempt."""

import asyncio
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Annotated, assert_type
from uuid import UUID, uuid4

import pytest

from lq_core import (
    INJECTED,
    NonRetryable,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    TaskContext,
    TaskStatus,
    Worker,
    current_context,
    task,
)
from lq_core.contracts import a_swap
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.records import lifecycle
from lq_core.records.record import Backoff
from lq_postgres import PostgresConfig
from programs import until
from servers import PostgresServer

AT_ONCE = Backoff(base=0.0)
SINCE = datetime(2026, 1, 2, tzinfo=UTC)
DONE: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


async def reserve(what: str, *, count: int) -> tuple[UUID, int]:
    DONE.append(f"reserve {what}")
    return current_context().record.id, count


def charge() -> datetime:
    DONE.append("charge")
    return SINCE


@task(name="steps.order", retries=2, backoff=AT_ONCE)
async def order(context: TaskContext) -> tuple[tuple[UUID, int], datetime, str]:
    reserved = assert_type(await context.step("reserve", reserve, "book", count=2), tuple[UUID, int])
    if context.attempt == 1:
        raise RuntimeError("after the first step")
    charged = assert_type(await context.step("charge", charge), datetime)
    assert await context.step("unhashable", unhashable) == 1
    if context.attempt == 2:
        raise RuntimeError("after the second step")
    return reserved, charged, await context.step("lambda", lambda: "plain")


@task(name="steps.plain_order", retries=1, backoff=AT_ONCE)
def plain_order(context: TaskContext) -> datetime:
    charged = assert_type(context.step_from_thread("charge", charge), datetime)
    if context.attempt == 1:
        raise RuntimeError("after the step")
    return charged


async def test_a_completed_step_gives_its_result_to_the_next_attempts(service: QueueService, worker: Worker) -> None:
    sent, plain = await service.enqueue(order), await service.enqueue(plain_order)

    assert await sent.wait(timeout=10) == ((sent.id, 2), SINCE, "plain")
    assert await plain.wait(timeout=10) == SINCE
    assert sorted(DONE) == ["charge", "charge", "reserve book"]
    assert [entry.message for entry in sent.record.history if entry.event == "step"] == [
        "reserve",
        "charge",
        "unhashable",
        "lambda",
    ]


@task(name="steps.overtaken")
async def overtaken(context: TaskContext, service: QueueService = INJECTED) -> None:
    try:
        await context.step("overtake", overtake, context.record, service)
        DONE.append("went on")
    except BaseException as error:
        DONE.append(type(error).__name__)
        raise


async def overtake(record: QueuedTaskRecord, service: QueueService) -> None:
    """Give the record to somebody else."""
    await service.queue_backend.swap([a_swap(lifecycle.cancel(record, at=service.queue_backend.now()))])


async def test_a_worker_that_has_lost_its_record_stores_no_step(service: QueueService, worker: Worker) -> None:
    async def has_ended() -> bool:
        return bool(DONE)

    sent = await service.enqueue(overtaken)
    await until(has_ended, what="the function has ended")
    record = await sent.refresh()

    assert DONE == ["OwnershipLostError"]
    assert (record.status, [entry.event for entry in record.history]) == (TaskStatus.CANCELLED, ["cancelled"])


@task(name="steps.wrong", retries=3, backoff=AT_ONCE)
async def wrong(context: TaskContext, how: str) -> None:
    DONE.append(how)
    if how == "unstorable":
        await context.step("look", object)
    if how == "too large":
        await context.step("look", lambda: "x" * 2_000_000)
    if how == "unstorable type":
        await context.step("look", connect)
    if how == "fails for good":
        await context.step("look", fail)
    await context.step("twice", str)
    await context.step("" if how == "no name" else "twice", str)


def connect() -> Event:
    DONE.append("connected")
    return Event()


def unhashable() -> Annotated[int, ["a note"]]:
    return 1


def fail() -> None:
    raise NonRetryable("sold out")


@pytest.mark.parametrize(
    "how, message, attempts",
    [
        ("unstorable", "The step 'look' has run, and its result cannot be stored as JSON", 1),
        ("too large", "The history of steps.wrong, up to the step 'look', takes 2,000,002 bytes", 1),
        ("fails for good", "sold out", 1),
        ("unstorable type", "The return annotation of the step 'look' is annotated `threading.Event`", 4),
        ("same name", "This attempt has begun a step 'twice' already", 4),
        ("no name", "The name of a step is ''", 4),
    ],
)
async def test_a_step_that_cannot_be_kept_fails_with_advice(
    how: str, message: str, attempts: int, tmp_path: Path
) -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as service, Worker(service):
        sent = await service.enqueue(wrong, how)
        record = await service.wait(sent.id, timeout=10)

    assert record.status is TaskStatus.FAILED
    assert record.error is not None
    assert message in record.error.message
    assert [how] * attempts == DONE


def next_of_none() -> None:
    next(iter(()))


@task(name="steps.empty")
async def empty(context: TaskContext) -> None:
    await context.step("next", next_of_none)


async def test_a_step_that_raises_stop_iteration_fails(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(empty)
    record = await service.wait(sent.id, timeout=10)
    assert record.error is not None
    assert "The function raised StopIteration()" in record.error.message


@task(name="steps.crowded")
async def crowded(context: TaskContext) -> datetime:
    return await context.step("charge", charge)


async def test_a_plain_step_needs_no_thread_that_others_may_have_taken(service: QueueService, worker: Worker) -> None:
    free = Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    hung = asyncio.ensure_future(asyncio.to_thread(free.wait))
    try:
        assert await (await service.enqueue(crowded)).wait(timeout=10) == SINCE
    finally:
        free.set()
        assert await hung


async def test_a_retry_by_hand_keeps_the_steps(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(order.using(retries=0))
    assert (await service.wait(sent.id, timeout=10)).status is TaskStatus.FAILED

    await service.retry(sent.id)
    assert (await service.wait(sent.id, timeout=10)).status is TaskStatus.FAILED

    assert DONE == ["reserve book", "charge"]


# ------------------------------------------------------------ kills

PROGRAM = """
import asyncio, os, sys
from lq_core import QueueConfig, QueueService, Worker
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
import test_steps

store, address = sys.argv[1:]
store = PostgresConfig(dsn=address) if store == "postgres" else SQLiteConfig(path=address)
config = QueueConfig(queue_backend=store, heartbeat_interval=0.1, heartbeat_timeout=1.0, poll_interval=0.1)

async def main():
    async with QueueService(config) as service, Worker(service):
        [record] = await service.find()
        await service.wait(record.id, timeout=20)

while True:
    if not (child := os.fork()):
        asyncio.run(main())
        os._exit(0)
    if not os.waitpid(child, 0)[1]:
        break
"""

POINTS = ("before a", "in a", "after a", "in b", "after b")
"""Where the process of an attempt is killed, one attempt after the other."""


def act(name: str, place: str) -> str:
    """Have an effect, and perhaps die before it is known."""
    with (Path(place) / "effects").open("a") as effects:
        effects.write(f"{name}\n")
    die(f"in {name}")
    return name


def die(point: str) -> None:
    if current_context().attempt == POINTS.index(point) + 1:
        os.kill(os.getpid(), signal.SIGKILL)


@task(name="steps.dangerous", max_losses=9)
async def dangerous(context: TaskContext, place: str) -> list[str]:
    die("before a")
    first = await context.step("a", act, "a", place)
    die("after a")
    second = await context.step("b", act, "b", place)
    die("after b")
    return [first, second]


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> QueueConfig:
    """The stores that outlive a process."""
    if request.param == "sqlite":
        return QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "lq.db"))
    server: PostgresServer = request.getfixturevalue("postgres")
    return QueueConfig(queue_backend=PostgresConfig(dsn=server.create_database(f"steps_{uuid4().hex}")))


async def test_a_kill_at_any_point_repeats_at_most_the_running_step(shared: QueueConfig, tmp_path: Path) -> None:
    store = shared.queue_backend
    where = ("postgres", store.dsn) if isinstance(store, PostgresConfig) else ("sqlite", tmp_path / "lq.db")
    async with QueueService(shared) as service:
        sent = await service.enqueue(dangerous, str(tmp_path))
    environment = {"PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, *map(str, where)]
    await asyncio.to_thread(subprocess.run, command, env=environment, timeout=60, check=True)

    async with QueueService(shared) as service:
        record = await service.get(sent.id)

    assert record is not None
    assert (record.status, record.result, record.losses) == (TaskStatus.COMPLETED, '["a","b"]', len(POINTS))
    assert (tmp_path / "effects").read_text().split() == ["a", "a", "b", "b"]
