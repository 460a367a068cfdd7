"""Signals: a task waits for one without a slot, and goes on with its value."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import assert_type
from uuid import UUID, uuid4

import pytest

from lq_core import (
    INJECTED,
    ConfigurationError,
    Proceed,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    RecordNotFoundError,
    SignalNotStoredError,
    SignalTimeoutError,
    TaskContext,
    TaskStatus,
    Worker,
    task,
)
from lq_core.testing import QueueTestbed
from programs import PATIENCE, until

SINCE = datetime(2026, 1, 2, tzinfo=UTC)
DONE: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


def ask() -> None:
    DONE.append("asked")


@task(name="signals.approve")
async def approve(context: TaskContext) -> tuple[datetime, object]:
    await context.step("ask", ask)
    try:
        at = assert_type(await context.wait_for("approved", datetime), datetime)
    except Exception as error:
        raise AssertionError("A wait is not an error.") from error
    return at, await context.wait_for("paid")


@task(name="signals.approve_plain")
def approve_plain(context: TaskContext) -> int:
    context.step_from_thread("ask", ask)
    return assert_type(context.wait_for_from_thread("approved", int), int)


@task(name="signals.other")
async def other() -> str:
    return "ran"


async def is_waiting(service: QueueService, record_id: UUID, name: str) -> None:
    """Return when the record has been put back to wait for a signal."""

    async def is_put_back() -> bool:
        record = await service.get(record_id)
        assert record is not None
        told = [entry.message for entry in record.history if entry.event == "waiting"]
        return record.status is TaskStatus.PENDING and told[-1:] == [name]

    await until(is_put_back, what=f"it waits for {name!r}")


@pytest.fixture
async def service(config: QueueConfig) -> AsyncIterator[QueueService]:
    """Its workers have one slot."""
    async with QueueService(replace(config, concurrency=1)) as service:
        yield service


async def test_a_record_waits_without_a_slot_until_a_signal_starts_it(service: QueueService) -> None:
    sent, plain = await service.enqueue(approve), await service.enqueue(approve_plain)
    async with Worker(service):
        await is_waiting(service, sent.id, "approved")
        await is_waiting(service, plain.id, "approved")
        assert await (await service.enqueue(other)).wait(timeout=PATIENCE) == "ran"

        assert await service.signal(sent.id, "approved", SINCE)
        assert await service.signal(plain.id, "approved", 7)
        assert not await service.signal(plain.id, "approved", 8)
        await is_waiting(service, sent.id, "paid")
        assert await service.signal(sent.id, "paid", {"cents": 499})

        assert await sent.wait(timeout=PATIENCE) == (SINCE, {"cents": 499})
        assert await plain.wait(timeout=PATIENCE) == 7
    assert (DONE, sent.record.attempt, sent.record.retry_count) == (["asked"] * 2, 3, 0)


async def test_a_record_takes_a_signal_before_it_waits(service: QueueService) -> None:
    sent = await service.enqueue(approve_plain)
    assert await service.signal(sent.id, "approved", 7)

    async with Worker(service):
        assert await sent.wait(timeout=PATIENCE) == 7
    assert sent.record.attempt == 1


@task(name="signals.send")
async def send(context: TaskContext, queue: QueueService = INJECTED) -> int:
    """Send a signal to this very record, and wait for it."""
    if context.attempt == 1:
        with pytest.raises(SignalNotStoredError, match="is still running after 0 s"):
            await queue.signal(context.record.id, "approved", 6, timeout=0)
        SENDING.append(asyncio.create_task(queue.signal(context.record.id, "approved", 7)))
    return await context.wait_for("approved", int)


SENDING: list[asyncio.Task[bool]] = []


async def test_a_signal_to_a_running_record_is_stored_when_it_has_stopped(service: QueueService) -> None:
    SENDING.clear()
    sent = await service.enqueue(send)

    async with Worker(service):
        assert await sent.wait(timeout=PATIENCE) == 7
    assert [await each for each in SENDING] == [True]


@task(name="signals.hurry", retries=1)
async def hurry(context: TaskContext, *, fails: bool = False) -> str:
    try:
        return await context.wait_for("approved", str, timeout=timedelta(hours=1))
    except SignalTimeoutError as late:
        if fails:
            raise
        DONE.append(str(late))
    return await context.wait_for("refused", str)


async def test_a_wait_ends_after_its_timeout_for_all_attempts() -> None:
    async with QueueTestbed() as bed:
        sent = await bed.service.enqueue(hurry)
        assert await bed.drain(within=3_599) == {TaskStatus.PENDING: 1}
        assert await bed.drain(within=2) == {TaskStatus.PENDING: 1}

        assert not await bed.service.signal(sent.id, "approved", "too late")
        assert await bed.service.signal(sent.id, "refused", "no")
        await bed.drain()

        assert await sent.wait() == "no"
    assert DONE == ["The signal 'approved' did not come in time."] * 2


async def note_errors(context: TaskContext, proceed: Proceed) -> QueuedTaskRecord:
    record = await proceed()
    DONE.append(f"{record.status}: {context.error!r}")
    return record


async def test_a_wait_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with QueueTestbed(QueueConfig(middleware=(note_errors,))) as bed:
        await bed.service.enqueue(hurry)
        await bed.drain(within=3_601)

    told = [
        (entry.levelname, vars(entry).get("task_name"))
        for entry in caplog.records
        if vars(entry).get("event") == "task.snoozed"
    ]
    assert told == [("INFO", "signals.hurry")] * 2
    assert [each for each in DONE if "pending" in each] == ["pending: None"] * 2


async def test_a_retry_by_hand_waits_again() -> None:
    async with QueueTestbed() as bed:
        sent = await bed.service.enqueue(hurry.using(retries=0), fails=True)
        await bed.drain(within=3_601)
        assert (await sent.refresh()).status is TaskStatus.FAILED

        await bed.service.retry(sent.id)
        assert await bed.drain(within=3_599) == {TaskStatus.PENDING: 1}
        assert await bed.service.signal(sent.id, "approved", "yes")
        await bed.drain()

        assert await sent.wait() == "yes"


async def test_a_signal_that_no_task_could_take_is_refused() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        sent = await service.enqueue(hurry)
        for value in (object(), float("nan")):
            with pytest.raises(TypeError, match="The value of the signal 'approved' cannot be encoded"):
                await service.signal(sent.id, "approved", value)
        with pytest.raises(ConfigurationError, match="The name of a signal is ''"):
            await service.signal(sent.id, "")
        with pytest.raises(RecordNotFoundError):
            await service.signal(uuid4(), "approved")
        await service.cancel(sent.id)

        assert not await service.signal(sent.id, "approved")


async def test_a_value_of_another_type_fails_the_attempt_with_advice() -> None:
    async with QueueTestbed() as bed:
        sent = await bed.service.enqueue(approve_plain)
        await bed.service.signal(sent.id, "approved", "seven")
        await bed.drain()

        error = (await sent.refresh()).error
    assert error is not None
    assert "The value of the signal 'approved' does not fit the type of the wait: Expected `int`" in error.message
