"""A queue for the tests of an application: nothing happens by itself, and what was enqueued can be asked for."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from typing_extensions import override

from lq_core import (
    Backoff,
    ConfigurationError,
    InProcessExecutionBackend,
    NonRetryable,
    QueueConfig,
    QueuedTaskRecord,
    QueueError,
    QueueService,
    RetryLater,
    TaskContext,
    TaskStatus,
    current_context,
    execution_backend,
    schedule,
    task,
)
from lq_core.execution import ExecutionService
from lq_core.schedules.schedule import SCHEDULES
from lq_core.testing import QueueTestbed

SENT = list[str]()


@execution_backend("far-away")
class FarAway(InProcessExecutionBackend):
    """Where no test goes."""

    @override
    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        raise ConfigurationError("The testbed runs records itself.")


@task(name="testbed.send", queue="mail")
async def send(name: str, *, language: str = "en") -> None:
    SENT.append(f"{name} {language}")


@task(name="testbed.try_twice", retries=1, backoff=Backoff(base=60, jitter=0))
async def try_twice() -> int:
    if current_context().attempt == 1:
        raise ConnectionError
    return current_context().attempt


@task(name="testbed.complete_in_a_transaction")
async def complete_in_a_transaction(context: TaskContext) -> int:
    await context.complete_in(object(), 7)
    return 7


@task(name="testbed.give_up")
async def give_up() -> None:
    raise NonRetryable("no")


@task(name="testbed.never_ready")
async def never_ready() -> None:
    raise RetryLater(0)


@pytest_asyncio.fixture
async def bed() -> AsyncIterator[QueueTestbed]:
    SENT.clear()
    async with QueueTestbed(QueueConfig(execution_backend="far-away")) as bed:
        yield bed


async def test_nothing_runs_until_it_is_drained(bed: QueueTestbed) -> None:
    sent = await bed.service.enqueue(send, "ada")
    before = list(SENT)

    assert await bed.drain() == {TaskStatus.COMPLETED: 1}
    assert await bed.drain() == {}
    assert (before, SENT, (await sent.refresh()).status) == ([], ["ada en"], TaskStatus.COMPLETED)


async def test_what_tasks_enqueue_is_drained_too(bed: QueueTestbed) -> None:
    @task(name="testbed.welcome")
    async def welcome(name: str) -> None:
        await bed.service.enqueue(send, name)

    await bed.service.enqueue(welcome, "ada")

    assert await bed.drain() == {TaskStatus.COMPLETED: 2}
    bed.assert_enqueued(send, "ada")


async def test_a_delayed_record_runs_when_the_test_lets_its_time_come(bed: QueueTestbed) -> None:
    sent = await bed.service.enqueue(send.using(delay=3600), "ada")

    assert await bed.drain() == {}
    bed.advance(3599)
    assert await bed.drain() == {}
    bed.advance(1)
    assert await bed.drain() == {TaskStatus.COMPLETED: 1}
    assert (await sent.refresh()).started_at == bed.now()


async def test_retries_run_when_they_are_asked_for(bed: QueueTestbed) -> None:
    tried = await bed.service.enqueue(try_twice)
    began = bed.now()

    assert await bed.drain() == {TaskStatus.PENDING: 1}
    assert await bed.drain(within=100) == {TaskStatus.COMPLETED: 1}
    assert ((await tried.refresh()).started_at, bed.now()) == (
        began + timedelta(seconds=60),
        began + timedelta(seconds=100),
    )


async def test_a_record_that_is_not_started_in_time_expires(bed: QueueTestbed) -> None:
    await bed.service.enqueue(send.using(expires_in=60), "ada")
    bed.advance(61)

    assert await bed.drain() == {TaskStatus.EXPIRED: 1}


async def test_records_run_after_those_they_wait_for(bed: QueueTestbed) -> None:
    first = send.call("ada")
    await bed.service.enqueue_many([send.using(after=[first]).call("bob"), first])

    assert await bed.drain() == {TaskStatus.COMPLETED: 2}
    assert SENT == ["ada en", "bob en"]


async def test_a_whole_chain_behind_a_failure_is_cancelled(bed: QueueTestbed) -> None:
    calls = [give_up.call()]
    for name in ("ada", "bob", "cid"):
        calls.append(send.using(after=[calls[-1]]).call(name))
    results = await bed.service.enqueue_many(calls)

    assert await bed.drain() == {TaskStatus.FAILED: 1}
    assert [(await result.refresh()).status.value for result in results] == ["failed", *["cancelled"] * 3]


async def test_a_drain_without_an_end_is_told(bed: QueueTestbed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lq_core.testing.testbed.MOST", 10)
    await bed.service.enqueue(never_ready)

    with pytest.raises(QueueError, match=r"there are still due records, last testbed\.never_ready"):
        await bed.drain()


async def test_a_call_is_asserted_by_its_task_and_arguments(bed: QueueTestbed) -> None:
    await bed.service.enqueue(send, "ada", language="de")

    bed.assert_enqueued(send, name="ada", language="de")
    bed.assert_not_enqueued(send, "bob")
    assert [record.queue for record in bed.enqueued(send)] == ["mail"]
    with pytest.raises(AssertionError) as told:
        bed.assert_enqueued(send, "bob")
    assert str(told.value) == (
        'testbed.send {"name":"bob"} was not enqueued. Enqueued so far:\n'
        '  testbed.send {"name":"ada","language":"de"} queue=\'mail\''
    )


async def test_options_are_asserted_as_they_are_given(bed: QueueTestbed) -> None:
    urgent = send.using(priority=5, delay=60, key="ada", expires_in=90)
    await bed.service.enqueue(urgent, "ada")
    bed.advance(600)

    bed.assert_enqueued(send, "ada")
    bed.assert_enqueued(urgent, "ada")
    bed.assert_not_enqueued(urgent.using(delay=61), "ada")
    bed.assert_not_enqueued(urgent.using(queue="film"), "ada")
    with pytest.raises(AssertionError, match=r"priority=4 was not enqueued[^$]*priority=5 key='ada' delay=60\.0"):
        bed.assert_enqueued(send.using(priority=4), "ada")
    with pytest.raises(AssertionError, match=r"priority=5 was enqueued"):
        bed.assert_not_enqueued(send.using(priority=5), "ada")


async def test_what_a_call_is_replaced_by_has_been_enqueued(bed: QueueTestbed) -> None:
    quiet = send.using(key="ada", on_conflict="debounce", delay=5)
    await bed.service.enqueue(quiet, "ada")
    bed.advance(3)
    await bed.service.enqueue(quiet, "bob")

    bed.assert_enqueued(quiet, "bob")
    bed.assert_not_enqueued(send, "ada")
    assert len(bed.enqueued()) == 1
    assert await bed.drain(within=5) == {TaskStatus.COMPLETED: 1}


async def test_what_is_enqueued_in_a_transaction_is_there(bed: QueueTestbed) -> None:
    within = bed.service.within(object())
    await within.enqueue(send.using(key="ada", on_conflict="replace"), "ada")
    await within.enqueue(send.using(key="ada", on_conflict="replace"), "bob")
    await bed.service.enqueue(complete_in_a_transaction)

    bed.assert_enqueued(send, "bob")
    assert await bed.drain() == {TaskStatus.COMPLETED: 2}


async def test_schedules_fire_by_the_clock_of_the_test() -> None:
    schedule(send.call("ada"), name="testbed.hourly", every=3600)
    schedule(send.call("bob"), name="testbed.daily", cron="0 0 * * *")
    try:
        async with QueueTestbed(at=datetime(2026, 5, 1, 12, 30, tzinfo=UTC), schedules=("testbed.hourly",)) as bed:
            counts = [await bed.drain(), await bed.drain(within=2 * 3600)]
            bed.advance(3600)
            counts.append(await bed.drain())
            await bed.service.pause_schedule("testbed.hourly")
            counts.append(await bed.drain(within=24 * 3600))
            times = [record.scheduled_at.hour for record in bed.enqueued()]
    finally:
        del SCHEDULES["testbed.hourly"]
        del SCHEDULES["testbed.daily"]

    assert counts == [{}, {TaskStatus.COMPLETED: 2}, {TaskStatus.COMPLETED: 1}, {}]
    assert times == [13, 14, 15]


async def test_a_record_that_was_there_already_is_enqueued_once(bed: QueueTestbed) -> None:
    once = send.using(key="ada")
    await bed.service.enqueue(once, "ada")
    again = await bed.service.enqueue(once, "ada")

    assert not again.created
    assert len(bed.enqueued()) == 1


def test_an_application_in_another_event_loop_shares_the_records() -> None:
    async def application(config: QueueConfig) -> None:
        async with QueueService(config) as service:
            await service.enqueue(send, "ada")

    async def test() -> None:
        async with QueueTestbed(QueueConfig(execution_backend="far-away")) as bed:
            await asyncio.to_thread(asyncio.run, application(bed.config))

            assert await bed.drain() == {TaskStatus.COMPLETED: 1}
            bed.assert_enqueued(send, "ada")

    asyncio.run(test())


async def test_a_testbed_whose_clock_is_in_a_time_zone_moves_by_real_seconds() -> None:
    """In this night, the clock is set back from 3 to 2."""
    berlin = ZoneInfo("Europe/Berlin")
    async with QueueTestbed(at=datetime(2026, 10, 25, 2, 30, tzinfo=berlin)) as bed:
        bed.advance(3600)

        assert bed.now() == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match=r"at is .*; it must be a moment with a time zone"):
        QueueTestbed(at=datetime(2026, 10, 25, 2, 30))  # noqa: DTZ001 -- the naive moment is the example
