"""What ended in each minute can be read from the service, with estimates of how long it waited and ran."""

import asyncio
from datetime import timedelta

import pytest

from lq_core import NonRetryable, QueueConfig, TaskStatus, task
from lq_core.queue.rollups import bucket_of, merged, quantile
from lq_core.testing import QueueTestbed


@task(name="rollups.work", queue="mail")
async def work(number: int) -> None:
    if number < 0:
        raise NonRetryable("less than nothing")


async def test_what_ended_is_counted_by_minute_and_queue() -> None:
    async with QueueTestbed(QueueConfig()) as bed:
        await bed.service.enqueue_many([work.call(number) for number in (1, 2, -1)])
        await bed.drain()
        bed.advance(60)
        waited = await bed.service.enqueue(work, 3)
        bed.advance(30)
        await bed.drain()
        cancelled = await bed.service.enqueue(work.using(queue="film", delay=60), 4)
        await bed.service.cancel(cancelled.id)

        first, second = await bed.service.rollups()
        [film] = await bed.service.rollups(queue="film")
        assert len(await bed.service.rollups(queue="mail", minutes=0)) == 0
        record = await bed.service.get(waited.id)

    assert (first.count(TaskStatus.COMPLETED), first.count(TaskStatus.FAILED)) == (2, 1)
    assert (second.count(TaskStatus.COMPLETED), second.count(TaskStatus.CANCELLED)) == (1, 1)
    assert film.count(TaskStatus.CANCELLED) == 1
    assert record is not None
    assert record.finished_at is not None
    assert second.minute == record.finished_at.replace(second=0, microsecond=0)
    estimate = quantile(second.waits, 0.5)
    assert estimate is not None
    assert 16 <= estimate <= 33
    assert sum(merged([first, second])[:4]) == 5


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 3, 1000, 86_400_000, 10**12])
def test_a_quantile_of_one_duration_is_near_it(milliseconds: int) -> None:
    buckets = [0] * 26
    buckets[bucket_of(timedelta(milliseconds=milliseconds))] += 1

    estimate = quantile(buckets, 0.95)

    assert estimate is not None
    assert min(milliseconds / 2, 10_000_000) <= estimate * 1000 <= 2 * milliseconds + 1


def test_nothing_has_no_quantile() -> None:
    assert quantile([0] * 26, 0.5) is None


def test_a_service_opens_again_in_another_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lq_core.presence.rollup_recorder.INTERVAL", 0.0)
    bed = QueueTestbed(QueueConfig())

    async def work_once() -> int:
        async with bed:
            await bed.service.enqueue(work, 1)
            await bed.drain()
            return sum(rollup.count(TaskStatus.COMPLETED) for rollup in await bed.service.rollups())

    assert [asyncio.run(work_once()), asyncio.run(work_once())] == [1, 2]
