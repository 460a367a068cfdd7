"""What a task asks for by annotation is opened when it is wanted, and closed whatever happens to the attempt."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import replace

import pytest

import shop
from lq_core import Metrics, Outcome, QueueConfig, QueueService, TaskFailedError, Worker, per_attempt, per_worker
from till import Cart, Pool, Session, Store, add_twice, cancel_itself, compare, fail, inline_config, sell, wait

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def inline(store: Store) -> QueueConfig:
    return inline_config(store)


@pytest.mark.parametrize("name", ["injection.sell", "injection.sell_in_thread"])
async def test_what_is_per_worker_is_opened_once_and_what_is_per_attempt_each_time(
    store: Store, inline: QueueConfig, name: str
) -> None:
    async with QueueService(inline) as service:
        await service.enqueue_by_name(name, "a hat")
        assert await (await service.enqueue_by_name(name, "a coat")).wait() == 1

    assert store.diary == [
        "pool opened",
        "session opened",
        "sold a hat",
        "session closed",
        "session opened",
        "sold a coat",
        "session closed",
        "pool closed",
    ]


async def test_what_nobody_asks_for_is_not_opened(store: Store, inline: QueueConfig) -> None:
    async with QueueService(inline) as service:
        await service.enqueue(shop.add, 1, 1)

    assert store.diary == []


async def test_whoever_asks_in_one_attempt_gets_the_same_value(inline: QueueConfig) -> None:
    @per_attempt
    async def cart(session: Session) -> AsyncIterator[Cart]:
        yield Cart(session)

    async with QueueService(replace(inline, providers=(cart, *inline.providers))) as service:
        assert await (await service.enqueue(compare)).wait()


async def test_many_first_uses_at_once_open_one_value(config: QueueConfig, store: Store) -> None:
    async with QueueService(replace(config, providers=store.providers())) as service, Worker(service):
        sent = await service.enqueue_many(sell.call(f"hat {number}") for number in range(20))
        await asyncio.gather(*[one.wait(timeout=20) for one in sent])

    assert (store.diary.count("pool opened"), store.diary.count("session closed")) == (1, 20)
    assert store.diary[-1] == "pool closed"


@pytest.mark.parametrize(
    "name, seen, status",
    [
        ("injection.fail", "ValueError", "failed"),
        ("injection.come_back", "RetryLater", "pending"),
        ("injection.linger", "TimeoutError", "failed"),
        ("injection.return_nonsense", "TypeError", "failed"),
    ],
)
async def test_what_is_per_attempt_sees_how_the_attempt_failed_and_is_closed(
    store: Store, inline: QueueConfig, name: str, seen: str, status: str
) -> None:
    async with QueueService(inline) as service:
        sent = await service.enqueue_by_name(name)

    assert sent.status == status
    assert store.diary[1:-1] == ["session opened", f"session saw {seen}", "session closed"]


async def test_what_is_per_attempt_is_opened_anew_for_a_retry(config: QueueConfig, store: Store) -> None:
    async with QueueService(replace(config, providers=store.providers())) as service, Worker(service):
        sent = await service.enqueue(fail.using(retries=2))
        with pytest.raises(TaskFailedError, match="sold out"):
            await sent.wait(timeout=10)

    assert store.diary.count("session opened") == 3
    assert store.diary.count("session closed") == 3


async def test_it_is_closed_when_the_task_is_cancelled(config: QueueConfig, store: Store) -> None:
    gate = shop.new_gate()
    async with QueueService(replace(config, providers=store.providers())) as service, Worker(service):
        sent = await service.enqueue(wait)
        await gate.wait_begun()
        await service.cancel(sent.id)
        with pytest.raises(TaskFailedError, match="cancelled"):
            await sent.wait(timeout=10)

        assert store.diary[1:] == ["session opened", "session saw CancelledError", "session closed"]


async def test_it_is_closed_when_the_worker_stops_and_before_the_pool(config: QueueConfig, store: Store) -> None:
    gate = shop.new_gate()
    providers = store.providers()
    async with QueueService(replace(config, providers=providers, shutdown_grace=0.0)) as service, Worker(service):
        sent = await service.enqueue(wait)
        await gate.wait_begun()

    assert store.diary[1:] == ["session opened", "session saw CancelledError", "session closed", "pool closed"]
    assert sent.status == "pending"


async def test_it_is_closed_when_the_record_belongs_to_somebody_else(config: QueueConfig, store: Store) -> None:
    gate = shop.new_gate()
    async with QueueService(replace(config, providers=store.providers())) as service, Worker(service):
        sent = await service.enqueue(wait)
        await gate.wait_begun()
        (worker,) = await service.workers()
        await service.queue_backend.retire(worker.id)
        async with asyncio.timeout(10):
            while "session closed" not in store.diary:  # noqa: ASYNC110 -- a diary has no event
                await asyncio.sleep(0)
        gate.opened.set()
        await sent.wait(timeout=10)

    assert store.diary[1:4] == ["session opened", "session saw CancelledError", "session closed"]


async def test_a_value_per_worker_knows_nothing_of_the_attempt_that_asked_first(inline: QueueConfig) -> None:
    seen: list[str] = []

    @per_worker
    async def pool() -> AsyncIterator[Pool]:
        seen.append(TENANT.get())
        async with asyncio.TaskGroup():  # It has to be left in the asyncio task in which it was entered.
            yield Pool()
        seen.append("left")

    _, session = Store().providers()
    async with QueueService(replace(inline, providers=(pool, session))) as service:
        TENANT.set("ada")
        await service.enqueue(sell, "a hat")

    assert seen == ["nobody", "left"]


async def test_values_per_worker_are_closed_in_reverse_order(inline: QueueConfig) -> None:
    diary: list[str] = []

    @per_worker
    def first() -> Iterator[str]:
        yield "settings"
        diary.append("first")

    @per_worker
    def second(settings: str) -> Iterator[Pool]:
        yield Pool()
        diary.append("second")

    _, session = Store().providers()
    async with QueueService(replace(inline, providers=(session, second, first))) as service:
        await service.enqueue(sell, "a hat")

    assert diary == ["second", "first"]


async def test_a_task_enqueues_another_with_the_service_it_asks_for(config: QueueConfig) -> None:
    async with QueueService(config) as service, Worker(service):
        sent = await service.enqueue(add_twice, 21)

        assert await sent.wait(timeout=10) == "injection.add_twice: 42"


async def test_a_task_that_cancels_its_own_record_and_returns_has_completed(config: QueueConfig, store: Store) -> None:
    metrics = Metrics()
    config = replace(config, providers=store.providers(), middleware=(metrics,))
    async with QueueService(config) as service, Worker(service):
        sent = await service.enqueue(cancel_itself)

        assert await sent.wait(timeout=10)
    assert list(metrics.snapshot()) == [("injection.cancel_itself", Outcome.COMPLETED)]
    assert store.diary == ["pool opened", "session opened", "session closed", "pool closed"]
