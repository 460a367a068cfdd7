"""
The kinds of work in a soak. A new feature of the queue gets a line in ``KINDS``.

Every task logs its start and its effect, and returns its attempt, so that the stored outcome names its attempt.
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
from soak.effects import EFFECT, START, EffectLog

EFFECT_LOG: Final = "SOAK_EFFECT_LOG"
"""The environment variable with the path of the effect log."""

TICK: Final = "soak.tick"
"""The schedule that every worker fires."""

SOON: Final = Backoff(base=0.05, factor=1)


@cache
def effect_log() -> EffectLog:
    """Open the effect log of this process, once."""
    return EffectLog(Path(os.environ[EFFECT_LOG]))


def begin(context: TaskContext) -> None:
    effect_log().write(START, context.record.id, context.attempt)


def finish(context: TaskContext) -> int:
    effect_log().write(EFFECT, context.record.id, context.attempt)
    return context.attempt


@task(name="soak.quick")
async def quick(context: TaskContext) -> int:
    begin(context)
    return finish(context)


@task(name="soak.slow")
async def slow(context: TaskContext, seconds: float) -> int:
    begin(context)
    await context.progress(0, seconds)
    await asyncio.sleep(seconds)  # This is the duration of the task.
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
    """Run longer than the timeout, in a thread, which cannot be stopped."""
    begin(context)
    time.sleep(0.4)  # This is the duration of the task.
    return context.attempt


def declare() -> None:
    """Declare the schedule that the workers of a soak fire."""
    schedule(quick.call(), name=TICK, every=1)


Sent = Sequence[TaskResult[Any]]


async def send_quick(service: QueueService, rng: random.Random) -> Sent:
    return [await service.enqueue(quick.using(queue=rng.choice(["default", "mail"])))]


async def send_many(service: QueueService, rng: random.Random) -> Sent:
    return await service.enqueue_many(quick.call() for _ in range(rng.randrange(2, 30)))


async def send_slow(service: QueueService, rng: random.Random) -> Sent:
    return [await service.enqueue(slow, rng.uniform(0.05, 0.6))]


async def send_urgent(service: QueueService, rng: random.Random) -> Sent:
    return [await service.enqueue(quick.using(priority=rng.randrange(-5, 10)))]


async def send_delayed(service: QueueService, rng: random.Random) -> Sent:
    return [await service.enqueue(quick.using(delay=rng.uniform(0.1, 3)))]


async def send_keyed(service: QueueService, rng: random.Random) -> Sent:
    return [await service.enqueue(slow.using(key=f"key {rng.randrange(5)}"), 0.1)]


async def send_stumbling(service: QueueService, rng: random.Random) -> Sent:
    return [await service.enqueue(stumble, rng.randrange(1, 4))]


async def send_hopeless(service: QueueService, rng: random.Random) -> Sent:
    return [await service.enqueue(stumble, 9) if rng.random() < 0.5 else await service.enqueue(give_up)]


async def send_snoozing(service: QueueService, _: random.Random) -> Sent:
    return [await service.enqueue(come_later)]


async def send_plain(service: QueueService, _: random.Random) -> Sent:
    return [await service.enqueue(plain)]


async def send_overrunning(service: QueueService, _: random.Random) -> Sent:
    return [await service.enqueue(overrun)]


async def send_expiring(service: QueueService, rng: random.Random) -> Sent:
    return [await service.enqueue(quick.using(expires_in=rng.choice([0.000_001, 0.3])))]


async def send_cancelled(service: QueueService, rng: random.Random) -> Sent:
    sent = await service.enqueue(slow.using(delay=rng.choice([0.0, 5.0])), 1.0)
    await asyncio.sleep(rng.uniform(0, 0.3))  # The producer changes its mind.
    await service.cancel(sent.id)
    return [sent]


async def send_chain(service: QueueService, rng: random.Random) -> Sent:
    first, second = await service.enqueue(slow, 0.1), await service.enqueue(stumble, rng.randrange(2))
    return [first, second, await service.enqueue(quick.using(after=(first, second)))]


async def send_limited(service: QueueService, rng: random.Random) -> Sent:
    return [await service.enqueue(slow.using(concurrency_key=f"tenant {rng.randrange(3)}", concurrency=2), 0.05)]


async def send_rated(service: QueueService, _: random.Random) -> Sent:
    return [await service.enqueue(quick.using(concurrency_key="rate", rate=RateLimit(count=20)))]


async def send_debounced(service: QueueService, rng: random.Random) -> Sent:
    key = f"debounce {rng.randrange(3)}"
    return [await service.enqueue(quick.using(key=key, on_conflict="debounce", delay=0.3))]


async def send_windowed(service: QueueService, rng: random.Random) -> Sent:
    return [await service.enqueue(quick.using(key=f"window {rng.randrange(3)}", key_window=0.5))]


class Kind(NamedTuple):
    """One kind of work: how a producer enqueues it, and how it may end."""

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
"""The kinds that producers choose from."""


async def send(kind: Kind, service: QueueService, rng: random.Random) -> None:
    """Enqueue one piece of work, and log the records that the queue confirmed."""
    try:
        sent = await kind.send(service, rng)
    except QueueError:
        return  # The producer knows that it failed.
    for one in sent:
        effect_log().write(f"stored:{kind.name}", one.id)
