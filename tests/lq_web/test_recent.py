"""A large store is counted in the background: pages show the last numbers, and how old they are."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import httpx
import pytest

from lq_core import StorageError, task
from lq_core.testing import QueueTestbed
from lq_web import recent
from lq_web.recent import OUTDATED, TIMES, Recent


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


async def test_pages_say_how_old_their_numbers_are(
    bed: QueueTestbed, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "LARGE", 0)
    monkeypatch.setattr(recent, "SLOW", -1.0)
    monkeypatch.setattr(recent, "TIMES", 10**9)
    monkeypatch.setattr(recent, "OUTDATED", 10**9)
    await bed.service.enqueue(greet, "Ada")

    first = (await browser.get("/queues/queues")).text
    later = (await browser.get("/queues/queues")).text
    overview = (await browser.get("/queues/api/overview")).json()

    assert "counted" not in first
    assert re.search(r"These numbers were counted \d+ (ms|s) ago.", later)
    assert overview["counted"] > 0
