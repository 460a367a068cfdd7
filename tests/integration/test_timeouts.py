"""Timeouts on every queue backend: each attempt has its own, and a thread that goes on is told of and holds no slot."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

import shop
from lq_core import (
    NonRetryable,
    QueueConfig,
    QueueService,
    RetryLater,
    TaskContext,
    TaskFailedError,
    TaskStatus,
    Worker,
    task,
)
from programs import until

OPENED = threading.Event()


@task(name="timeouts.hold", timeout=0.05, retries=1, backoff=0)
def hold() -> None:
    """Hold on to a thread, whatever anybody wants."""
    OPENED.wait()


@task(name="timeouts.hold_and_break", timeout=0.05)
def hold_and_break() -> None:
    OPENED.wait()
    raise ValueError("too late")


@task(name="timeouts.hold_for_long")
def hold_for_long(context: TaskContext) -> None:
    context.log_from_thread("begun")
    OPENED.wait()


@task(name="timeouts.wait", timeout=0.05, retries=2, backoff=0)
async def wait() -> None:
    await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def closed() -> None:
    OPENED.clear()


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(entry) for entry in caplog.records if vars(entry).get("event") == event]


def has_told(caplog: pytest.LogCaptureFixture, event: str, *, times: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return len(told(caplog, event)) == times

    return look


async def test_every_attempt_has_the_whole_time(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(wait)

    with pytest.raises(TaskFailedError, match=r"TimeoutError: .* longer than its timeout of 0\.05 s"):
        await sent.wait(timeout=10)
    failures = [entry.failure.type for entry in sent.record.history if entry.failure]
    assert (sent.record.attempt, failures) == (3, ["TimeoutError"] * 3)


async def test_a_thread_that_goes_on_holds_no_slot_and_is_told_of(
    config: QueueConfig, caplog: pytest.LogCaptureFixture
) -> None:
    async with QueueService(replace(config, concurrency=1)) as service, Worker(service):
        held = await service.enqueue(hold)
        with pytest.raises(TaskFailedError, match=r"longer than its timeout of 0\.05 s\. Its thread .* still running"):
            await held.wait(timeout=10)

        assert await (await service.enqueue(shop.add, 1, 2)).wait(timeout=10) == 3

        first, second = told(caplog, "task.thread_abandoned")
        assert told(caplog, "task.thread_ended_late") == []
        OPENED.set()
        await until(has_told(caplog, "task.thread_ended_late", times=2), what="both threads are told of")
    assert [entry["attempt"] for entry in (first, second)] == [1, 2]
    assert {entry["record_id"] for entry in (first, second)} == {str(held.id)}
    assert second["abandoned_threads"] == first["abandoned_threads"] + 1


async def test_a_cancelled_record_tells_that_its_thread_goes_on(service: QueueService, worker: Worker) -> None:
    held = await service.enqueue(hold_for_long)

    async def has_begun() -> bool:
        return bool((await held.refresh()).history)

    await until(has_begun, what="the thread has begun")
    await service.cancel(held.id)
    with pytest.raises(TaskFailedError, match=r"cancelled.*still running"):
        await held.wait(timeout=10)
    OPENED.set()


async def test_what_a_late_thread_raises_is_told_and_changes_nothing(
    service: QueueService, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    held = await service.enqueue(hold_and_break)
    ended = await service.wait(held.id, timeout=10)

    OPENED.set()
    await until(has_told(caplog, "task.thread_ended_late", times=1), what="the thread is told of")

    (late,) = told(caplog, "task.thread_ended_late")
    assert (late["error"], late["record_id"]) == ("ValueError: too late", str(held.id))
    assert isinstance(late["seconds_late"], float)
    assert late["seconds_late"] > 0
    assert await service.get(held.id) == ended


async def test_a_record_that_is_not_started_in_time_is_never_run(service: QueueService) -> None:
    sent = await service.enqueue(shop.add.using(expires_in=0.000_001), 1, 1)

    async with Worker(service):
        ended = await service.wait(sent.id, timeout=10)

    assert (ended.status, ended.attempt, ended.started_at) == (TaskStatus.EXPIRED, 0, None)


@task(name="timeouts.clean_up_for_long", timeout=2)
async def clean_up_for_long() -> None:
    """Begin to clean up when it is cancelled, which never ends."""
    shop.gate.begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.Event().wait()


async def test_the_timeout_ends_a_clean_up_that_never_ends(service: QueueService, worker: Worker) -> None:
    shop.new_gate()
    sent = await service.enqueue(clean_up_for_long)
    await shop.gate.wait_begun()
    await service.cancel(sent.id)

    ended = await service.wait(sent.id, timeout=10)

    assert ended.status is TaskStatus.CANCELLED


@task(name="timeouts.refuse")
async def refuse() -> None:
    """Go on once more when it is told to stop."""
    shop.gate.begun.set()
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await shop.gate.through_middleware()


async def test_a_function_that_does_not_stop_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    shop.new_gate()
    async with QueueService(QueueConfig(queue_backend="memory")) as service, Worker(service):
        sent = await service.enqueue(refuse)
        await shop.gate.wait_begun()
        await service.cancel(sent.id)

        await until(has_told(caplog, "task.does_not_stop", times=1), what="the log tells of it")
        shop.gate.opened.set()

        assert (await service.wait(sent.id, timeout=10)).has_ended


@task(name="timeouts.give_up", timeout=0.05, retries=3, backoff=0)
async def give_up(how: str) -> None:
    """Say what is to be done when the time is up."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise (NonRetryable("no use") if how == "for good" else RetryLater(60)) from None


async def test_a_task_says_what_is_to_be_done_when_its_time_is_up(service: QueueService, worker: Worker) -> None:
    failed, later = await service.enqueue(give_up, "for good"), await service.enqueue(give_up, "for now")

    async def is_put_off() -> bool:
        record = await later.refresh()
        return record.status is TaskStatus.PENDING and record.attempt == 1

    with pytest.raises(TaskFailedError, match="NonRetryable: no use"):
        await failed.wait(timeout=10)
    await until(is_put_off, what="the record is put off")

    assert (failed.record.attempt, later.record.retry_count) == (1, 0)
