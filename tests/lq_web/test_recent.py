"""A large store is counted in the background: pages show the last numbers, and how old they are."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import httpx
import pytest
from typing_extensions import override

from lq_core import QueueConfig, QueuedTaskRecord, Statistics, StorageError, task
from lq_core.queue import Swap
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.records import lifecycle
from lq_core.testing import QueueTestbed
from lq_web import WebConfig, create_app, recent
from lq_web.recent import LONGEST, OUTDATED, TIMES, Recent


class Watch:
    """A clock that moves only when something takes time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@task(name="recent.greet", queue="mail")
async def greet(name: str) -> str:
    return f"Hello, {name}."


def answers(watch: Watch, *, take: float) -> Callable[[], Awaitable[int]]:
    """A question whose answers are 1, 2, 3 and so on."""
    numbers = iter(range(1, 10))

    async def ask() -> int:
        watch.now += take
        return next(numbers)

    return ask


async def test_a_slow_answer_is_shown_until_a_new_one_is_there() -> None:
    watch = Watch()
    slow = Recent(answers(watch, take=0.1), keeps=lambda _: True, elapsed=watch)

    first = await slow.read()
    watch.now = TIMES * 0.1 + 0.05
    while_it_is_asked_again = await slow.read()
    for _ in range(3):
        await asyncio.sleep(0)
    second = await slow.read()

    assert (first, second) == ((1, 0.0), (2, pytest.approx(0.1)))
    assert while_it_is_asked_again == (1, pytest.approx(TIMES * 0.1 + 0.05))


async def test_nobody_sees_an_outdated_answer() -> None:
    watch = Watch()
    slow = Recent(answers(watch, take=0.1), keeps=lambda _: True, elapsed=watch)

    _ = await slow.read()
    watch.now = OUTDATED * 0.1 + 0.05

    assert await slow.read() == (2, 0.0)


@pytest.mark.parametrize("takes, keeps", [(0.01, True), (0.1, False)], ids=["quick", "few"])
async def test_a_quick_answer_and_one_about_few_records_are_made_anew(takes: float, *, keeps: bool) -> None:
    watch = Watch()
    asked = Recent(answers(watch, take=takes), keeps=lambda _: keeps, elapsed=watch)

    assert [await asked.read() for _ in range(3)] == [(1, 0.0), (2, 0.0), (3, 0.0)]


async def test_a_failure_in_the_background_leaves_the_last_answer_until_that_is_outdated() -> None:
    watch = Watch()
    numbers = answers(watch, take=0.1)

    async def ask() -> int:
        number = await numbers()
        if number > 1:
            raise StorageError("The database is gone.")
        return number

    slow = Recent(ask, keeps=lambda _: True, elapsed=watch)
    first, _ = await slow.read()
    watch.now = TIMES * 0.1 + 0.05
    kept, _ = await slow.read()
    for _ in range(3):
        await asyncio.sleep(0)
    watch.now = OUTDATED * 0.1 + 0.05

    assert (first, kept) == (1, 1)
    with pytest.raises(StorageError, match="The database is gone"):
        await slow.read()


async def test_a_page_waits_for_the_answer_that_is_under_way() -> None:
    watch = Watch()
    slow = Recent(answers(watch, take=0.1), keeps=lambda _: True, elapsed=watch)

    slow.ask()

    assert await slow.read() == (1, pytest.approx(0.1))


@pytest.mark.parametrize("error", [StorageError("It is gone."), RuntimeError("A surprise.")], ids=["known", "unknown"])
async def test_a_failure_of_the_answer_that_is_under_way_does_not_fail_the_next_one(error: Exception) -> None:
    watch = Watch()
    numbers = answers(watch, take=0.1)

    async def ask() -> int:
        number = await numbers()
        if number == 1:
            raise error
        return number

    slow = Recent(ask, keeps=lambda _: True, elapsed=watch)
    slow.ask()

    assert [await slow.read(), await slow.read()] == [(2, 0.0), (2, pytest.approx(0.1))]


def test_an_answer_under_way_in_an_event_loop_that_has_ended_is_asked_for_again() -> None:
    async def never() -> int:
        return (
            1 if asyncio.get_running_loop() is second.get_loop() else await asyncio.get_running_loop().create_future()
        )

    async def begin() -> None:
        slow.ask()
        await asyncio.sleep(0)  # It is under way.

    slow = Recent(never, keeps=lambda _: True)
    with asyncio.Runner() as second:
        asyncio.run(begin())

        assert second.run(slow.read()) == (1, 0.0)


async def test_an_answer_that_takes_long_is_made_again_after_a_minute() -> None:
    watch = Watch()
    slow = Recent(answers(watch, take=10), keeps=lambda _: True, elapsed=watch)

    _ = await slow.read()
    watch.now = 2 * LONGEST + 1

    assert await slow.read() == (2, 0.0)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every store had very many records, and every answer took long."""
    monkeypatch.setattr(recent, "LARGE", 0)
    monkeypatch.setattr(recent, "SLOW", -1.0)
    monkeypatch.setattr(recent, "TIMES", 10**9)
    monkeypatch.setattr(recent, "OUTDATED", 10**9)


@pytest.mark.usefixtures("large")
async def test_the_first_page_finds_what_has_been_counted_since_the_start(bed: QueueTestbed) -> None:
    await bed.service.enqueue(greet, "Ada")
    app = create_app(bed.service, WebConfig(open_to_everyone=True))
    transport = httpx.ASGITransport(app)  # pyright: ignore[reportArgumentType] -- the two describe ASGI in different words

    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://queues.test") as browser:
        first = (await browser.get("/queues/queues", headers={"accept": "text/html"})).text

    assert re.search(r"These numbers were counted \d+ (ms|s) ago.", first)


class Endless(InMemoryQueueBackend):
    """Counts until it is stopped."""

    @override
    async def statistics(self) -> Statistics:
        await asyncio.Event().wait()
        return await super().statistics()


async def test_a_count_in_the_background_does_not_hold_up_the_end() -> None:
    app = create_app(QueueConfig(queue_backend=f"{Endless.__module__}:Endless"), WebConfig(open_to_everyone=True))

    async with asyncio.timeout(60), app.lifespan():
        await asyncio.sleep(0)  # The count has begun.

    assert len(asyncio.all_tasks()) == 1


async def swap(bed: QueueTestbed, old: QueuedTaskRecord, new: QueuedTaskRecord) -> None:
    assert await bed.service.queue_backend.swap([Swap(record=new, epoch=old.epoch)]) == [True]


@pytest.mark.usefixtures("large")
async def test_a_search_for_running_records_shows_their_current_state(
    bed: QueueTestbed, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that were found a moment ago, the ones that still run; and the newest, which have started since."""
    monkeypatch.setattr("lq_web.searching.STARTED", 1)
    for queue in ("mail", "mail", "other", "mail"):
        await bed.service.enqueue(greet.using(queue=queue), "Ada")
    started, other, running, ended = await bed.service.find()
    for record in (ended, running, other):
        await swap(bed, record, lifecycle.claim(record, worker_id="ada", at=bed.service.queue_backend.now()))
    params = {"status": "running", "queue": "mail"}

    first = (await browser.get("/queues/api/records", params=params)).json()
    before = await bed.service.get(ended.id)
    assert before is not None
    await swap(bed, before, lifecycle.complete(before, result="1", at=bed.service.queue_backend.now()))
    await swap(bed, started, lifecycle.claim(started, worker_id="ada", at=bed.service.queue_backend.now()))
    later = (await browser.get("/queues/api/records", params=params)).json()
    page = (await browser.get("/queues/records", params=params)).text

    assert [record["id"] for record in first["records"]] == [str(running.id), str(ended.id)]
    assert [record["id"] for record in later["records"]] == [str(started.id), str(running.id)]
    assert first["age"] == 0 < later["age"]
    assert "Running records that are not among the newest were found" in page


@pytest.mark.usefixtures("large")
async def test_pages_say_how_old_their_numbers_are(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue(greet, "Ada")

    first = (await browser.get("/queues/queues")).text
    later = (await browser.get("/queues/queues")).text
    overview = (await browser.get("/queues/api/overview")).json()

    assert "counted" not in first
    assert re.search(r"These numbers were counted \d+ (ms|s) ago.", later)
    assert overview["counted"] > 0
