"""What becomes of a record that a worker cannot read: a worker of another version takes it, on every queue backend."""

import json
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec import Struct

import shop
from lq_core import QueueConfig, QueueService, TaskFailedError, TaskResult, TaskStatus, WaitTimeoutError, Worker, task
from lq_core.contracts.records import a_record
from lq_core.records.record import HistoryEntry, QueuedTaskRecord
from lq_core.tasks.call import TaskCall

MANY = 2_000


class Parcel(Struct):
    """An argument that the next version has changed."""

    weight: int
    address: str


@task(name="unknown.post", retries=2)
async def post(number: int, parcel: Parcel, *, fragile: bool = False) -> int:
    return number


def a_call_of(name: str, number: int = 1, *, key: str | None = None) -> TaskCall[int]:
    """Call a task that this process does not know."""
    call = shop.add.using(retries=3, key=key).call(number, number)
    call.task_name = name
    return call


async def is_passed_on(service: QueueService, sent: TaskResult[int]) -> QueuedTaskRecord:
    """Wait until a worker has released the record, and return it."""
    async for event in service.events(of=[sent]):
        if event.event == "passed_on":
            break
    return await sent.refresh()


async def test_a_record_of_an_unknown_task_waits_for_a_worker_that_knows_it(
    service: QueueService, worker: Worker
) -> None:
    name = f"unknown.{service.queue_backend.address}"
    (sent,) = await service.enqueue_many([a_call_of(name)])
    waiting = await is_passed_on(service, sent)

    @task(name=name)
    async def deployed(first: int, second: int) -> int:
        return first + second

    assert (waiting.status, waiting.attempt, waiting.retry_count, waiting.losses) == (TaskStatus.PENDING, 0, 0, 0)
    assert waiting.error is None
    assert await sent.wait(timeout=20) == 2
    assert (sent.record.attempt, sent.record.retry_count) == (1, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"number": 1},
        {"number": 1, "parcel": {"weight": 1, "address": "x"}, "colour": "red"},
        {"count": 1, "parcel": {"weight": 1, "address": "x"}},
        {"number": "one", "parcel": {"weight": 1, "address": "x"}},
        {"number": 1, "parcel": {"weight": 1}},
        {"number": 1, "parcel": {"weight": 1, "address": "x"}, "fragile": "very"},
    ],
    ids=["added", "removed", "renamed", "changed type", "changed field", "changed option"],
)
async def test_arguments_that_another_version_wrote_wait_for_a_worker_that_can_read_them(
    service: QueueService, worker: Worker, arguments: dict[str, object]
) -> None:
    call = post.call(1, Parcel(weight=1, address="x"))
    call.arguments = json.dumps(arguments)
    (sent,) = await service.enqueue_many([call])

    waiting = await is_passed_on(service, sent)

    assert (waiting.status, waiting.attempt, waiting.retry_count) == (TaskStatus.PENDING, 0, 0)
    assert waiting.history[-1].failure is not None
    assert waiting.history[-1].failure.message.startswith("The arguments do not fit unknown.post(number: int")


async def test_damaged_arguments_fail_at_once(service: QueueService, worker: Worker) -> None:
    call = shop.add.using(retries=3).call(1, 1)
    call.arguments = '{"first": 1,'
    (sent,) = await service.enqueue_many([call])

    with pytest.raises(TaskFailedError, match="The arguments are damaged"):
        await sent.wait(timeout=10)


async def test_a_record_that_waited_for_too_long_fails_with_advice(service: QueueService, worker: Worker) -> None:
    long_ago = service.queue_backend.now() - timedelta(days=1)
    record = a_record(task_name="shop.ad", history=(HistoryEntry(at=long_ago, event="passed_on"),))
    await service.queue_backend.insert([record])

    failed = await service.wait(record.id, timeout=10)

    assert failed.error is not None
    assert (failed.status, "Did you mean 'shop.add'?" in failed.error.message) == (TaskStatus.FAILED, True)


async def test_without_patience_a_record_of_an_unknown_task_fails_at_once(config: QueueConfig) -> None:
    async with QueueService(replace(config, unknown_task_patience=0)) as service, Worker(service):
        (sent,) = await service.enqueue_many([a_call_of("shop.ad")])

        with pytest.raises(TaskFailedError, match=r"Did you mean 'shop\.add'"):
            await sent.wait(timeout=10)


async def test_a_record_that_no_worker_can_read_holds_its_key_and_can_be_cancelled(
    service: QueueService, worker: Worker
) -> None:
    (sent,) = await service.enqueue_many([a_call_of("unknown.keyed", key="one")])
    await is_passed_on(service, sent)

    (again,) = await service.enqueue_many([a_call_of("unknown.keyed", key="one")])

    assert (again.id, again.created) == (sent.id, False)
    assert await service.cancel(sent.id)
    assert (await sent.refresh()).status is TaskStatus.CANCELLED


async def test_a_caller_that_waits_in_vain_learns_why(service: QueueService, worker: Worker) -> None:
    (sent,) = await service.enqueue_many([a_call_of("shop.ad")])
    await is_passed_on(service, sent)

    with pytest.raises(WaitTimeoutError) as late:
        await service.wait(sent.id, timeout=0.01)

    assert "No task is registered as 'shop.ad'" in late.value.__notes__[0]


async def test_many_records_of_an_unknown_task_do_not_keep_others_waiting(
    service: QueueService, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await service.enqueue_many(a_call_of("unknown.many", number) for number in range(MANY))

    sent = await service.enqueue(shop.add, 1, 2)

    assert await sent.wait(timeout=20) == 3
    told = [entry for entry in caplog.records if vars(entry).get("task_name") == "unknown.many"]
    assert [vars(entry)["event"] for entry in told] == ["task.passed_on"]
