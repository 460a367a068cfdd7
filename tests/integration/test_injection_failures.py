"""A value that a task asks for cannot be opened or closed, or nobody provides it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from types import ModuleType

import pytest

from lq_core import (
    MissingProviderError,
    QueueConfig,
    QueueService,
    TaskContext,
    TaskFailedError,
    Worker,
    per_attempt,
    per_worker,
)
from till import Pool, Session, Store, fail, inline_config, search, sell


@pytest.fixture
def inline() -> QueueConfig:
    return inline_config(Store())


async def test_a_value_that_cannot_be_opened_is_a_failed_attempt_and_the_next_one_tries_again(
    config: QueueConfig,
) -> None:
    tries: list[str] = []

    @per_worker
    async def pool() -> AsyncIterator[Pool]:
        tries.append("try")
        if len(tries) == 1:
            raise ConnectionError("no database yet")
        yield Pool()

    _, session = Store().providers()
    async with QueueService(replace(config, providers=(pool, session))) as service, Worker(service):
        sent = await service.enqueue(sell.using(retries=1), "a hat")

        assert await sent.wait(timeout=10) == 2
    failure = sent.record.history[0].failure
    assert failure is not None
    assert (failure.type, failure.message) == ("ConnectionError", "no database yet")


async def test_a_transaction_that_cannot_be_committed_is_a_failed_attempt(inline: QueueConfig) -> None:
    @per_attempt
    def session(context: TaskContext) -> Iterator[Session]:
        yield Session(Pool(), context.attempt)
        raise ConnectionError("the commit did not arrive")

    async with QueueService(replace(inline, providers=(session,))) as service:
        sent = await service.enqueue(sell, "a hat")

        with pytest.raises(TaskFailedError, match="ConnectionError: the commit did not arrive"):
            await sent.wait()


async def test_a_provider_cannot_swallow_the_exception_of_the_task(inline: QueueConfig) -> None:
    @per_attempt
    def session(context: TaskContext) -> Iterator[Session]:
        with suppress(ValueError):
            yield Session(Pool(), context.attempt)

    async with QueueService(replace(inline, providers=(session,))) as service:
        sent = await service.enqueue(fail)

        with pytest.raises(TaskFailedError, match="ValueError: sold out"):
            await sent.wait()


async def test_the_timeout_counts_the_opening(inline: QueueConfig) -> None:
    @per_attempt
    async def session() -> AsyncIterator[Session]:
        await asyncio.Event().wait()
        yield Session(Pool(), 0)

    async with QueueService(replace(inline, providers=(session,))) as service:
        sent = await service.enqueue(sell.using(timeout=0.05), "a hat")

        with pytest.raises(TaskFailedError, match=r"longer than its timeout of 0\.05 s"):
            await sent.wait()


async def test_an_attempt_that_gives_up_while_a_value_is_opened_does_not_take_it_from_the_others(
    inline: QueueConfig,
) -> None:
    asks: asyncio.Queue[int] = asyncio.Queue()
    may_open = asyncio.Event()

    @per_worker
    async def pool() -> AsyncIterator[Pool]:
        await may_open.wait()
        yield Pool()

    @per_attempt
    def turn() -> Iterator[int]:
        asks.put_nowait(1)
        yield asks.qsize()

    @per_attempt
    def session(turn: int, pool: Pool) -> Iterator[Session]:
        yield Session(pool, turn)

    async with QueueService(replace(inline, providers=(pool, turn, session))) as service:
        first = asyncio.create_task(service.enqueue(sell, "a hat"))
        await asks.get()
        second = asyncio.create_task(service.enqueue(sell, "a coat"))
        await asks.get()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        may_open.set()

        assert await (await second).wait() == 1


async def test_a_value_that_does_not_close_is_given_up_and_told_in_the_log(
    inline: QueueConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lq_core.attempts.resource.CLOSE_GRACE", 0.05)

    @per_worker
    async def pool() -> AsyncIterator[Pool]:
        yield Pool()
        await asyncio.Event().wait()

    _, session = Store().providers()
    async with asyncio.timeout(10), QueueService(replace(inline, providers=(pool, session))) as service:
        await service.enqueue(sell, "a hat")

    assert "resource.not_closed" in [vars(entry).get("event") for entry in caplog.records]


async def test_a_value_that_nobody_provides_is_refused_at_the_enqueue(inline: QueueConfig) -> None:
    async with QueueService(inline) as service:
        with pytest.raises(MissingProviderError, match=r"search asks for a Nowhere as 'where', .* QueueConfig\(prov"):
            await service.enqueue(search)


async def test_who_lists_no_providers_may_enqueue_and_the_attempt_fails_with_advice() -> None:
    config = QueueConfig(queue_backend="memory", execution_backend="immediate")
    async with QueueService(config) as service:
        sent = await service.enqueue(search.using(retries=3))

        with pytest.raises(TaskFailedError, match=r"decorate it with @per_worker or @per_attempt"):
            await sent.wait()
    assert sent.record.attempt == 1


async def test_a_worker_does_not_start_without_what_its_task_modules_ask_for(
    config: QueueConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, search.function.__module__, ModuleType("the tasks"))
    async with QueueService(replace(config, task_modules=(search.function.__module__,))) as service:
        with pytest.raises(MissingProviderError, match="and there is no provider for it"):
            await Worker(service).run()
        assert await service.workers() == []


async def test_of_tasks_that_are_there_by_chance_a_worker_says_in_the_log_what_is_missing(
    config: QueueConfig, caplog: pytest.LogCaptureFixture
) -> None:
    async with QueueService(config) as service, Worker(service):
        pass

    missing = [vars(entry) for entry in caplog.records if vars(entry).get("event") == "worker.provider_missing"]
    assert ("injection.search", "where", "Nowhere") in [
        (each["task_name"], each["parameter"], each["type"]) for each in missing
    ]
