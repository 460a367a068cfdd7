"""
The kinds of work in a soak: a new feature of the queue joins it with a line in ``KINDS``.

Every task notes its start and its effect, and returns its attempt: the outcome that is stored tells whose it is.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from lq_core import (
    Backoff,
    NonRetryable,
    QueueError,
    QueueService,
    RateLimit,
    RetryLater,
    TaskContext,
    TaskResult,
    TaskStatus,
    schedule,
    task,
)
from storms.book import EFFECT, START, Book

BOOK: Final = "SOAK_BOOK"
"""The environment variable that says where the book is."""

TICK: Final = "soak.tick"
"""The schedule that every worker fires."""

SOON: Final = Backoff(base=0.05, factor=1)


@cache
def book() -> Book:
    """The book of this process."""
    return Book(Path(os.environ[BOOK]))


def begin(context: TaskContext) -> None:
    book().write(START, context.record.id, context.attempt)


def finish(context: TaskContext) -> int:
    book().write(EFFECT, context.record.id, context.attempt)
    return context.attempt


@task(name="soak.quick")
async def quick(context: TaskContext) -> int:
    begin(context)
    return finish(context)


@task(name="soak.slow")
async def slow(context: TaskContext, seconds: float) -> int:
    begin(context)
    await context.progress(0, seconds)
    await asyncio.sleep(seconds)  # The task is made to take its time; nobody waits by this clock.
    return finish(context)


@task(name="soak.stumble", retries=3, backoff=SOON)
async def stumble(context: TaskContext, times: int) -> int:
    begin(context)
    if context.record.retry_count < times:
        raise ValueError("stumbled")
    return finish(context)


@task(name="soak.come_later")
async def come_later(context: TaskContext) -> int:
    begin(context)
    if not any(entry.event == "snoozed" for entry in context.record.history):
        raise RetryLater(0.2)
    return finish(context)


@task(name="soak.give_up", retries=3)
async def give_up(context: TaskContext) -> int:
    begin(context)
    raise NonRetryable("never")


@task(name="soak.plain")
def plain(context: TaskContext) -> int:
    begin(context)
    return finish(context)


@task(name="soak.overrun", timeout=0.1, retries=1, backoff=SOON)
def overrun(context: TaskContext) -> int:
    """Run longer than the timeout, in a thread that nobody can stop."""
    begin(context)
    time.sleep(0.4)  # The task is made to take its time; nobody waits by this clock.
    return context.attempt


def declare() -> None:
    """Declare what every worker of a soak fires; the process that asks for the soak is no such worker."""
    schedule(quick.call(), name=TICK, every=1)


Sent = Sequence[TaskResult[Any]]


async def send_quick(service: QueueService, dice: random.Random) -> Sent:
    return [await service.enqueue(quick.using(queue=dice.choice(["default", "mail"])))]


async def send_many(service: QueueService, dice: random.Random) -> Sent:
    return await service.enqueue_many(quick.call() for _ in range(dice.randrange(2, 30)))


async def send_slow(service: QueueService, dice: random.Random) -> Sent:
    return [await service.enqueue(slow, dice.uniform(0.05, 0.6))]


async def send_urgent(service: QueueService, dice: random.Random) -> Sent:
    return [await service.enqueue(quick.using(priority=dice.randrange(-5, 10)))]


async def send_delayed(service: QueueService, dice: random.Random) -> Sent:
    return [await service.enqueue(quick.using(delay=dice.uniform(0.1, 3)))]


async def send_keyed(service: QueueService, dice: random.Random) -> Sent:
    return [await service.enqueue(slow.using(key=f"key {dice.randrange(5)}"), 0.1)]


async def send_stumbling(service: QueueService, dice: random.Random) -> Sent:
    return [await service.enqueue(stumble, dice.randrange(1, 4))]


async def send_hopeless(service: QueueService, dice: random.Random) -> Sent:
    return [await service.enqueue(stumble, 9) if dice.random() < 0.5 else await service.enqueue(give_up)]


async def send_snoozing(service: QueueService, _: random.Random) -> Sent:
    return [await service.enqueue(come_later)]


async def send_plain(service: QueueService, _: random.Random) -> Sent:
    return [await service.enqueue(plain)]


async def send_overrunning(service: QueueService, _: random.Random) -> Sent:
    return [await service.enqueue(overrun)]


async def send_expiring(service: QueueService, dice: random.Random) -> Sent:
    return [await service.enqueue(quick.using(expires_in=dice.choice([0.000_001, 0.3])))]


async def send_cancelled(service: QueueService, dice: random.Random) -> Sent:
    sent = await service.enqueue(slow.using(delay=dice.choice([0.0, 5.0])), 1.0)
    await asyncio.sleep(dice.uniform(0, 0.3))  # The producer changes its mind.
    await service.cancel(sent.id)
    return [sent]


async def send_chain(service: QueueService, dice: random.Random) -> Sent:
    first, second = await service.enqueue(slow, 0.1), await service.enqueue(stumble, dice.randrange(2))
    return [first, second, await service.enqueue(quick.using(after=(first, second)))]


async def send_limited(service: QueueService, dice: random.Random) -> Sent:
    return [await service.enqueue(slow.using(concurrency_key=f"tenant {dice.randrange(3)}", concurrency=2), 0.05)]


async def send_rated(service: QueueService, _: random.Random) -> Sent:
    return [await service.enqueue(quick.using(concurrency_key="rate", rate=RateLimit(count=20)))]


async def send_debounced(service: QueueService, dice: random.Random) -> Sent:
    key = f"debounce {dice.randrange(3)}"
    return [await service.enqueue(quick.using(key=key, on_conflict="debounce", delay=0.3))]


async def send_windowed(service: QueueService, dice: random.Random) -> Sent:
    return [await service.enqueue(quick.using(key=f"window {dice.randrange(3)}", key_window=0.5))]


class Kind(NamedTuple):
    """One kind of work: how a producer asks for it, and how it may end."""

    name: str
    send: Callable[[QueueService, random.Random], Awaitable[Sent]]
    weight: int
    ends: frozenset[TaskStatus] = frozenset({TaskStatus.COMPLETED})


KINDS: Final = (
    Kind("quick", send_quick, 10),
    Kind("many", send_many, 2),
    Kind("slow", send_slow, 6),
    Kind("urgent", send_urgent, 4),
    Kind("delayed", send_delayed, 4),
    Kind("keyed", send_keyed, 4),
    Kind("stumbling", send_stumbling, 4),
    Kind("hopeless", send_hopeless, 2, frozenset({TaskStatus.FAILED})),
    Kind("snoozing", send_snoozing, 3),
    Kind("plain", send_plain, 3),
    Kind("overrunning", send_overrunning, 1, frozenset({TaskStatus.FAILED})),
    Kind("expiring", send_expiring, 3, frozenset({TaskStatus.COMPLETED, TaskStatus.EXPIRED})),
    Kind("cancelled", send_cancelled, 3, frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED})),
    Kind("chain", send_chain, 2),
    Kind("limited", send_limited, 3),
    Kind("rated", send_rated, 2),
    Kind("debounced", send_debounced, 3),
    Kind("windowed", send_windowed, 2),
)
"""What producers choose from."""


async def send(kind: Kind, service: QueueService, dice: random.Random) -> None:
    """Ask for one piece of work, and note what the queue has answered."""
    try:
        sent = await kind.send(service, dice)
    except QueueError:
        return  # The producer was told that it did not work.
    for one in sent:
        book().write(f"told:{kind.name}", one.id)
