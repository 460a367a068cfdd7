"""The queue for plain code: scripts, threads, forks, and event loops of others."""

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from lq_core import (
    INJECTED,
    ConfigurationError,
    InvalidArgumentError,
    QueueConfig,
    QueueService,
    RecordFilter,
    SyncQueueService,
    TaskFailedError,
    TaskStatus,
    WaitTimeoutError,
    task,
)
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.testing import QueueTestbed


@task(name="plain.add")
async def add(first: int, second: int) -> int:
    return first + second


@pytest.fixture
def config(tmp_path: Path) -> QueueConfig:
    return QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "lq.db"))


@pytest.fixture
def queue(config: QueueConfig) -> Iterator[SyncQueueService]:
    with SyncQueueService(config) as queue:
        yield queue


def test_it_enqueues_and_reads_without_await(queue: SyncQueueService) -> None:
    sent = queue.enqueue(add, 1, second=2)

    assert (sent.created, sent.status) == (True, "pending")
    assert queue.get(sent.id) == sent.record
    assert queue.count(RecordFilter(task_names=("plain.add",))) == 1
    assert queue.cancel(sent.id)
    assert sent.refresh().status == "cancelled"
    assert queue.retry(sent.id).status == "pending"


def test_it_reads_and_changes_many_records_without_await(queue: SyncQueueService) -> None:
    queue.enqueue_many(add.call(number, 1) for number in range(3))
    all_of_them = RecordFilter(task_names=("plain.add",))

    assert (queue.statistics().total(TaskStatus.PENDING), queue.demand().due, queue.workers()) == (3, 3, [])
    assert (queue.cancel_many(all_of_them), queue.retry_many(all_of_them), queue.cancel_many(all_of_them)) == (3, 3, 3)
    assert queue.delete_many(all_of_them) == 3
    assert queue.find(all_of_them) == []


def test_it_pauses_and_limits_a_queue_and_keeps_who_did_it(queue: SyncQueueService) -> None:
    queue.pause("mail")
    queue.limit_queue("mail", concurrency=2)
    queue.note_action("pause queue", "mail", actor="ada")

    mail = queue.queues()["mail"]

    assert (mail.paused, mail.limits and mail.limits.concurrency) == (True, 2)
    assert [each.actor for each in queue.actions()] == ["ada"]
    queue.resume("mail")
    assert not queue.queues()["mail"].paused
    assert queue.drain("mail", timeout=1) == 0


def test_it_sends_signals(queue: SyncQueueService) -> None:
    sent = queue.enqueue(add, 1, 2)

    assert queue.signal(sent.id, "approved", value=True)
    assert not queue.signal(sent.id, "approved", value=False)
    assert [(entry.message, entry.value) for entry in sent.refresh().history] == [("approved", "true")]


@task(name="plain.spread")
def spread(numbers: list[int], queue: SyncQueueService = INJECTED) -> list[str]:
    sent = queue.enqueue_many(add.call(number, 1) for number in numbers)
    queue.close()  # It belongs to the worker, and stays open.
    return [str(one.refresh().id) for one in sent]


@task(name="plain.from_the_loop")
async def from_the_loop(queue: SyncQueueService = INJECTED) -> int:
    return queue.count()


async def test_a_plain_task_gets_it_from_its_worker() -> None:
    async with QueueTestbed() as bed:
        spread_out = await bed.service.enqueue(spread, [1, 2])
        wrong = await bed.service.enqueue(from_the_loop)
        await bed.drain()

        ids = await spread_out.wait(timeout=0)
        records = [await bed.service.get(UUID(one)) for one in ids]
        with pytest.raises(TaskFailedError, match="In async code, use QueueService"):
            await wrong.wait(timeout=0)

    assert [record and record.result for record in records] == ["2", "3"]


def test_events_come_without_await(queue: SyncQueueService) -> None:
    sent = queue.enqueue(add, 1, 2)
    told: list[str] = []

    for event in queue.events(of=[sent]):
        told.append(event.event)
        queue.cancel(sent.id)

    assert told == ["enqueued", "cancelled"]


def test_errors_are_those_of_the_service(queue: SyncQueueService) -> None:
    sent = queue.enqueue(add, 1, 2)

    with pytest.raises(InvalidArgumentError, match="second"):
        queue.enqueue_by_name("plain.add", 1, "two")
    with pytest.raises(WaitTimeoutError):
        sent.wait(timeout=0.01)
    queue.cancel(sent.id)
    with pytest.raises(TaskFailedError):
        sent.wait(timeout=5)


def test_it_opens_again_after_closing(config: QueueConfig) -> None:
    queue = SyncQueueService(config)

    queue.enqueue(add, 1, 2)
    queue.close()
    queue.close()

    assert queue.count() == 1
    queue.close()


def test_many_threads_share_one(queue: SyncQueueService) -> None:
    with ThreadPoolExecutor(8) as threads:
        sent = [one.result() for one in [threads.submit(queue.enqueue, add, number, 1) for number in range(200)]]

    assert len({one.id for one in sent}) == 200
    assert queue.count() == 200
    assert sum(thread.name == "lq-sync-service" for thread in threading.enumerate()) == 1


def test_a_forked_child_opens_its_own(queue: SyncQueueService) -> None:
    queue.enqueue(add, 1, 2)

    child = os.fork()
    if child == 0:  # pragma: no cover -- the child has no coverage
        signal.alarm(20)
        try:
            queue.enqueue(add, 3, 4)
        finally:
            os._exit(0 if queue.count() == 2 else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert queue.enqueue(add, 5, 6).created
    assert queue.count() == 3


async def test_another_event_loop_does_not_disturb_it(queue: SyncQueueService) -> None:
    """As in a notebook, or in a plain handler of an async framework."""
    assert queue.enqueue(add, 1, 2).created
    assert (await asyncio.to_thread(queue.enqueue, add, 3, 4)).created


def test_a_call_in_its_own_loop_is_refused(queue: SyncQueueService) -> None:
    async def inside(_: QueueService) -> None:
        queue.count()

    with pytest.raises(ConfigurationError, match="use QueueService and await it"):
        queue.call(inside)


def test_every_method_of_the_service_is_there() -> None:
    """Except what needs a connection or an owner of records of its own."""
    names = {name for name, _ in inspect.getmembers(QueueService, inspect.isfunction) if not name.startswith("_")}
    inner = {"check", "within", *dir(QueueService.__mro__[1])}

    missing = {name for name in names - inner if not hasattr(SyncQueueService, name)}

    assert missing == set()


async def leave(_: QueueService) -> None:
    raise SystemExit(3)


def test_a_call_that_exits_leaves_the_others_with_an_answer() -> None:
    with SyncQueueService(QueueConfig(queue_backend="memory")) as queue:
        with pytest.raises(SystemExit):
            queue.call(leave)

        assert queue.count() == 0
