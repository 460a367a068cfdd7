"""The records of calls that are enqueued together are those that each call would have alone."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from datetime import timedelta
from typing import cast

import pytest
from msgspec.structs import replace

from lq_core import (
    ConfigurationError,
    DuplicateRecordError,
    PayloadTooLargeError,
    QueueConfig,
    QueueService,
    TaskResult,
    task,
)
from lq_core.foundation.clock import utc_now
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.service.executions import Executions
from lq_core.service.new_records import RecordMaker
from lq_core.tasks.call import TaskCall


@task(name="calls.send", retries=2)
async def send(number: int, text: str = "") -> None:
    """Do nothing."""


@task(name="calls.copy")
async def copy(number: int) -> None:
    """Do nothing."""


def test_calls_together_make_the_records_that_each_makes_alone() -> None:
    tasks = [
        send,
        send.using(delay=5),
        send.using(key="one"),
        send.using(key_from=("number",)),
        send.using(key="one", key_window=60),
        send.using(metadata={"trace": "1"}),
        send.using(expires_in=9),
        send.using(priority=3, queue="mail"),
        copy,
    ]
    calls = [each.call(number) for each in tasks for number in range(3)] + [each.call(1) for each in tasks]
    asked, beside = send.call(1), send.call(2)
    calls += [asked, beside, send.using(after=[asked.id]).call(3)]
    calls.append(TaskCall(copy.name, "{}", beside.options, copy.codec))
    calls.append(TaskCall(send.name, "{}", beside.options, send.codec))
    config, at = QueueConfig(), utc_now()
    executions = Executions(config)

    maker = RecordMaker(config, executions, InMemoryQueueBackend(config))
    _ = maker.many([send.call(0), send.using(delay=1).call(0), *calls], at=at - timedelta(hours=1))

    together = maker.many(calls, at=at)

    alone = [RecordMaker(config, executions, InMemoryQueueBackend(config)).one(call, at=at) for call in calls]
    assert [replace(one, id=other.id) for one, other in zip(alone, together, strict=True)] == together
    assert len({record.id for record in together}) == len(calls)
    assert together[calls.index(asked)].id == asked.id


def test_a_call_that_is_too_large_is_refused_beside_others() -> None:
    config = QueueConfig(max_payload_bytes=100)
    calls = [send.call(1), send.call(2, "long" * 100)]

    with pytest.raises(PayloadTooLargeError, match=r"calls\.send"):
        _ = RecordMaker(config, Executions(config), InMemoryQueueBackend(config)).many(calls, at=utc_now())


def used_up() -> Generator[TaskCall[None]]:
    calls = (send.call(number) for number in range(2))
    assert len(list(calls)) == 2
    return calls


async def async_calls() -> AsyncIterator[TaskCall[None]]:
    yield send.call(1)


Use = Callable[[QueueService], Awaitable[object]]


async def check(service: QueueService) -> None:
    service.check(send.call(number) for number in range(2))


def used_up_results() -> Generator[TaskResult[None]]:
    results = (result for result in list[TaskResult[None]]())
    assert not list(results)
    return results


async def enqueue_within(service: QueueService) -> None:
    await service.within(None).enqueue_many(used_up())


def enqueuing(calls: Callable[[], object]) -> Use:
    return lambda service: service.enqueue_many(cast("list[TaskCall[None]]", calls()))


@pytest.mark.parametrize(
    "use, advice",
    [
        (enqueuing(used_up), "has been used up, so it gives no calls; pass a list"),
        (enqueuing(async_calls), r"pass one: \[one async for one in calls\]"),
        (enqueuing(lambda: send.call(1)), r"is not a list of calls; pass one: \[call\]"),
        (enqueue_within, "has been used up"),
        (check, r"This would use up .*; pass a list of calls"),
    ],
)
async def test_calls_that_cannot_be_read_again_are_refused_with_the_way(use: Use, advice: str) -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        with pytest.raises(TypeError, match=advice):
            await use(service)


async def test_results_that_cannot_be_read_again_are_refused() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        with pytest.raises(TypeError, match="has been used up, so it gives no results"):
            service.events(of=used_up_results())


async def test_a_generator_without_calls_and_calls_without_an_id_may_be_used_again() -> None:
    call = send.call(1)

    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        assert await service.enqueue_many(send.call(number) for number in range(0)) == []
        first, second = await service.enqueue_many([call, call])

    assert first.id != second.id


async def test_a_call_whose_id_was_read_is_enqueued_once() -> None:
    call = send.call(1)

    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        await service.enqueue_many([call, send.using(after=[call.id]).call(2)])
        with pytest.raises(DuplicateRecordError, match=r"make another one with task\.call"):
            await service.enqueue_many([call])


def test_predecessors_that_can_be_read_only_once_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"after is <generator.*, which can be read only once; make a list"):
        send.using(after=(call.id for call in used_up()))  # pyright: ignore[reportArgumentType] -- the mistake is the example


async def test_a_result_says_when_its_service_is_closed() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        sent = await service.enqueue(send, 1)

    with pytest.raises(ConfigurationError, match="The QueueService is not open"):
        await sent.wait()
    with pytest.raises(ConfigurationError, match="The QueueService is not open"):
        await sent.refresh()
