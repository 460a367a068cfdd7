"""A timedelta stands wherever seconds stand, and is stored as its seconds."""

from dataclasses import replace
from datetime import timedelta
from typing import assert_type

import pytest

from lq_core import (
    Backoff,
    ConfigurationError,
    Limits,
    QueueConfig,
    QueueService,
    RateLimit,
    RetryLater,
    TaskStatus,
    WaitTimeoutError,
    schedule,
    task,
)
from lq_core.schedules.schedule import SCHEDULES
from lq_core.testing import QueueTestbed

MINUTE = timedelta(minutes=1)


@task(
    name="durations.slow",
    delay=MINUTE,
    expires_in=timedelta(hours=1),
    timeout=MINUTE,
    retries=1,
    backoff=timedelta(seconds=1.5),
    rate=RateLimit(1, per=MINUTE),
    concurrency_key="slow",
)
async def slow() -> None:
    """Do nothing."""


@task(name="durations.patient", retries=1)
async def patient() -> None:
    raise RetryLater(MINUTE, "not yet")


def patience(failures: int) -> timedelta:
    return failures * MINUTE


@task(name="durations.failing", retries=1, backoff=patience)
async def failing() -> None:
    raise OSError("away")


def test_options_take_a_timedelta_and_keep_its_seconds() -> None:
    options = slow.using(key="one", key_window=timedelta(days=1)).options

    assert (options.delay, options.expires_in, options.timeout, options.key_window) == (60.0, 3600.0, 60.0, 86_400.0)
    assert options.backoff == Backoff(base=1.5, factor=1.0, cap=1.5, jitter=0.0)
    assert options.limits == Limits(rate=RateLimit(1, per=60.0))
    assert Backoff(base=MINUTE, cap=timedelta(hours=1)) == Backoff(base=60.0, cap=3600.0)


def test_an_option_that_cannot_be_is_refused_with_the_timedelta() -> None:
    with pytest.raises(ConfigurationError, match=r"timeout is datetime.timedelta\(0\); it must be a number of seconds"):
        slow.using(timeout=timedelta())
    with pytest.raises(ConfigurationError, match=r"delay is datetime.timedelta\(days=-1\)"):
        slow.using(delay=timedelta(days=-1))
    with pytest.raises(ConfigurationError, match="or a timedelta of that length"):
        slow.using(delay="3")  # pyright: ignore[reportArgumentType] -- the mistake is the example
    with pytest.raises(ConfigurationError, match=r"priority is datetime\.timedelta"):
        slow.using(priority=MINUTE)  # pyright: ignore[reportArgumentType] -- the mistake is the example


def test_a_rate_and_a_backoff_refuse_what_is_no_duration() -> None:
    with pytest.raises(
        ConfigurationError, match=r"per is 'PT3S'; it must be a number .*, or a timedelta of that length\.$"
    ):
        slow.using(rate=RateLimit(1, per="PT3S"))  # pyright: ignore[reportArgumentType] -- the mistake
    with pytest.raises(
        ConfigurationError, match=r"its base is -60\.0; it must be a number .*, or a timedelta of that length\.$"
    ):
        slow.using(backoff=Backoff(base=-MINUTE))


def test_a_configuration_takes_a_timedelta_and_keeps_its_seconds() -> None:
    config = QueueConfig(
        queue_backend="memory",
        poll_interval=MINUTE,
        heartbeat_interval=timedelta(seconds=2),
        heartbeat_timeout=20,
        shutdown_grace=timedelta(),
        retention={TaskStatus.FAILED: timedelta(days=7), TaskStatus.COMPLETED: 60},
    )

    assert_type(config.poll_interval, float)
    assert (config.poll_interval, config.heartbeat_interval, config.shutdown_grace) == (60.0, 2.0, 0.0)
    assert replace(config, shutdown_grace=MINUTE).shutdown_grace == 60.0
    assert QueueConfig(queue_backend="memory").poll_interval == 1.0
    with pytest.raises(ConfigurationError, match=r"poll_interval is 0\.0; it must be a number of seconds"):
        QueueConfig(poll_interval=timedelta())
    with pytest.raises(ConfigurationError, match=r"retention is .*timedelta.*not negative"):
        QueueConfig(retention={TaskStatus.FAILED: timedelta(days=-1)})


def test_a_schedule_takes_a_timedelta() -> None:
    made = schedule(patient.call(), name="durations", every=timedelta(hours=1))
    del SCHEDULES["durations"]

    assert made.plan.every == 3600.0


async def test_a_wait_takes_a_timedelta() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as queue:
        sent = await queue.enqueue(slow)
        with pytest.raises(WaitTimeoutError):
            await sent.wait(timeout=timedelta(milliseconds=1))
        with pytest.raises(WaitTimeoutError):
            await queue.wait(sent.id, timeout=timedelta(milliseconds=1))
        assert await queue.drain("default", timeout=timedelta(milliseconds=1)) == 1


async def test_a_task_waits_for_a_timedelta_before_its_next_attempt() -> None:
    async with QueueTestbed() as bed:
        later = await bed.service.enqueue(patient)
        again = await bed.service.enqueue(failing)
        await bed.drain()
        records = [await each.refresh() for each in (later, again)]

        assert [record.scheduled_at - bed.now() for record in records] == [MINUTE, MINUTE]
        bed.advance(MINUTE)
        assert await bed.drain(within=timedelta(0)) == {TaskStatus.PENDING: 1, TaskStatus.FAILED: 1}
