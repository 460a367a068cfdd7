"""Batch tasks: one call of the function for many records, each with an outcome of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import assert_type

import pytest

from lq_core import (
    INJECTED,
    ConfigurationError,
    InvalidArgumentError,
    NonRetryable,
    QueueConfig,
    QueueService,
    RetryLater,
    TaskContext,
    TaskDefinitionError,
    TaskResult,
    TaskStatus,
    Worker,
    current_context,
    per_attempt,
    task,
)
from lq_core.contracts import a_record
from lq_core.records.record import Backoff
from programs import PATIENCE, until

AT_ONCE = Backoff(base=0.0)
NEVER = 3600.0
"""Seconds that no test waits: a batch that starts is full."""

GOT: list[object] = []


@pytest.fixture(autouse=True)
def nothing_got() -> None:
    GOT.clear()


@task(name="batches.days", batch=3, batch_wait=NEVER, retries=1, backoff=AT_ONCE)
async def days(moments: list[datetime]) -> Sequence[int | Exception]:
    GOT.append(sorted(moment.day for moment in moments))
    return [NonRetryable("no seventh day") if moment.day == 7 else moment.day for moment in moments]


@task(name="batches.double", batch=3, batch_wait=NEVER)
def double(numbers: list[int]) -> list[int]:
    GOT.append(sorted(numbers))
    return [2 * number for number in numbers]


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


@pytest.fixture
async def service(config: QueueConfig) -> AsyncIterator[QueueService]:
    """Its workers have one slot."""
    async with QueueService(replace(config, concurrency=1)) as service:
        yield service


async def test_a_function_gets_many_calls_at_once_and_each_has_its_own_outcome(
    service: QueueService, worker: Worker
) -> None:
    sent = await service.enqueue_many(days.call(day(number)) for number in (1, 2, 7))
    plain = await service.enqueue_many(double.call(number) for number in range(3))

    assert [await one.wait(timeout=PATIENCE) for one in sent[:2]] == [1, 2]
    refused = await service.wait(sent[2].id, timeout=PATIENCE)
    assert refused.error is not None
    assert (refused.status, refused.attempt, refused.error.message) == (TaskStatus.FAILED, 1, "no seventh day")
    assert sorted([await one.wait(timeout=PATIENCE) for one in plain]) == [0, 2, 4]
    assert sorted(map(str, GOT)) == ["[0, 1, 2]", "[1, 2, 7]"]


@pytest.fixture
async def quick() -> AsyncIterator[QueueService]:
    """In memory, with a worker of two slots and a provider."""
    config = QueueConfig(queue_backend="memory", concurrency=2, providers=(session,))
    async with QueueService(config) as service, Worker(service):
        yield service


class Session:
    """What is opened for each call of a function."""


@per_attempt
async def session() -> AsyncIterator[Session]:
    GOT.append("opened")
    try:
        yield Session()
    except BaseException as error:
        GOT.append(type(error).__name__)
        raise
    GOT.append("closed")


@task(name="batches.trouble", batch=2, batch_wait=NEVER, retries=1, backoff=AT_ONCE)
async def trouble(hows: list[str], session: Session = INJECTED) -> list[str | Exception]:
    GOT.append(hows)
    with pytest.raises(LookupError):
        current_context()
    if "raise" in hows:
        raise OSError("away")
    if "few" in hows:
        return ["one"]
    return [RetryLater(0) if how == "later" and GOT.count(hows) == 1 else how for how in hows]


async def test_an_exception_of_the_function_fails_each_call_and_each_is_retried(quick: QueueService) -> None:
    sent = [await quick.enqueue(trouble, how) for how in ("raise", "raise")]
    records = [await quick.wait(one.id, timeout=PATIENCE) for one in sent]

    assert [(record.attempt, record.error and record.error.message) for record in records] == [(2, "away")] * 2
    assert GOT == ["opened", ["raise", "raise"], "OSError"] * 2
    traces = {record.error.traceback.count("in trouble") for record in records if record.error}
    assert traces == {1}


async def test_too_few_outcomes_fail_each_call_with_advice(quick: QueueService) -> None:
    sent = [await quick.enqueue(trouble.using(retries=0), "few") for _ in range(2)]
    records = [await quick.wait(one.id, timeout=PATIENCE) for one in sent]

    message = (
        "batches.trouble got a list of 2 calls, and must return a list with one outcome for each, a result or an "
        "exception; it returned ['one']."
    )
    assert [record.error and record.error.message for record in records] == [message] * 2
    assert GOT[-1] == "TypeError"


async def test_instructions_among_the_outcomes_mean_what_they_mean_elsewhere(quick: QueueService) -> None:
    first = [await quick.enqueue(trouble, how) for how in ("later", "now")]
    assert await first[1].wait(timeout=PATIENCE) == "now"
    second = await quick.enqueue(trouble, "now")

    assert [await first[0].wait(timeout=PATIENCE), await second.wait(timeout=PATIENCE)] == ["later", "now"]
    assert GOT.count("closed") == 2


RELEASED: list[asyncio.Event] = []


@task(name="batches.hold", batch=2, batch_wait=NEVER)
async def hold(names: list[str]) -> list[str]:
    GOT.append(names)
    try:
        await RELEASED[0].wait()
    except asyncio.CancelledError:
        GOT.append("cancelled")
        raise
    return names


async def test_a_cancelled_call_leaves_its_batch_and_the_last_one_ends_the_function(quick: QueueService) -> None:
    async def has_got_two() -> bool:
        return bool(GOT)

    RELEASED[:] = [asyncio.Event()]
    sent = [await quick.enqueue(hold, name) for name in "ab"]
    await until(has_got_two, what="the function runs")

    await quick.cancel(sent[0].id)
    assert (await quick.wait(sent[0].id, timeout=PATIENCE)).status is TaskStatus.CANCELLED
    assert (await sent[1].refresh()).status is TaskStatus.RUNNING
    await quick.cancel(sent[1].id)
    assert (await quick.wait(sent[1].id, timeout=PATIENCE)).status is TaskStatus.CANCELLED

    assert GOT == [["a", "b"], "cancelled"]


@task(name="batches.next")
async def following() -> None:
    GOT.append("next")


@task(name="batches.busy", batch=2, batch_wait=NEVER)
async def busy(names: list[str], queue: QueueService = INJECTED) -> list[str]:
    await queue.enqueue(following)
    for _ in range(50):
        await asyncio.sleep(0)  # In so many turns, a worker with a free slot takes the record.
    GOT.append("busy")
    return names


async def test_a_batch_takes_no_slot_while_it_gathers_and_one_while_it_runs() -> None:
    async def has_run() -> bool:
        return "next" in GOT

    async with QueueService(QueueConfig(queue_backend="memory", concurrency=1)) as service, Worker(service):
        for name in "ab":
            await service.enqueue(busy, name)
        await until(has_run, what="the record after the batch has run")

    assert GOT == ["busy", "next"]


@task(name="batches.soon", batch=100, batch_wait=0.01, timeout=PATIENCE)
async def soon(names: list[str]) -> list[int]:
    return [len(names) for _ in names]


async def test_a_batch_that_is_not_full_starts_after_its_wait(quick: QueueService) -> None:
    sent = await quick.enqueue_many(soon.call(name) for name in "abc")

    assert [await one.wait(timeout=PATIENCE) for one in sent] == [3, 3, 3]


async def test_a_record_that_has_lost_a_start_runs_alone(quick: QueueService) -> None:
    suspect = a_record(task_name=days.name, arguments='{"moments":"2026-01-05T00:00:00Z"}', losses=1)
    sent = await quick.enqueue_many(days.call(day(number)) for number in (1, 2, 3))
    await quick.queue_backend.insert([suspect])

    assert (await quick.wait(suspect.id, timeout=PATIENCE)).result == "5"
    assert [await one.wait(timeout=PATIENCE) for one in sent] == [1, 2, 3]
    assert sorted(map(str, GOT)) == ["[1, 2, 3]", "[5]"]


async def test_a_call_is_typed_and_checked_as_one_call() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        assert_type(await service.enqueue(days, day(1)), TaskResult[int])
        with pytest.raises(InvalidArgumentError, match=r"batches.days\(moments: datetime.datetime\) -> int"):
            await service.enqueue_by_name("batches.days", [day(1)])
    assert assert_type(await days([day(2)]), Sequence[int | Exception]) == [2]
    assert assert_type(double([2]), Sequence[int | Exception]) == [4]
    assert days.using(key_from=("moments",)).call(day(1)).key == 'batches.days:{"moments":"2026-01-01T00:00:00Z"}'


async def one(number: int) -> list[int]:
    return [number]


async def two(numbers: list[int], others: list[int]) -> list[int]:
    return numbers + others


async def no_list(numbers: list[int]) -> int:
    return len(numbers)


async def with_context(numbers: list[int], context: TaskContext = INJECTED) -> list[int]:
    return [context.attempt for _ in numbers]


@pytest.mark.parametrize(
    "function, problem",
    [
        (one, "must take one annotated list"),
        (two, "must take one annotated list"),
        (no_list, "return a list with one outcome for each call"),
        (with_context, "is a TaskContext, but its calls have one each"),
    ],
)
def test_a_function_that_cannot_take_a_batch_is_refused(function: object, problem: str) -> None:
    with pytest.raises(TaskDefinitionError, match=problem):
        task(name="batches.refused", batch=2)(function)  # pyright: ignore[reportCallIssue, reportArgumentType] -- it is refused


def test_a_bad_size_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="batch is 0"):
        task(batch=0)
    with pytest.raises(ConfigurationError, match="batch_wait is -1"):
        task(batch=1, batch_wait=-1)
