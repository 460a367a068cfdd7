"""Schedules on every queue backend, with workers that fire them and run what comes of it."""

from collections.abc import Iterator

import pytest

import shop
from lq_core import QueueConfig, QueueService, RecordFilter, TaskStatus, Worker, schedule
from lq_core.schedules.schedule import SCHEDULES
from programs import until


@pytest.fixture(autouse=True)
def ticking() -> Iterator[None]:
    """A schedule that is due every second, as long as the test runs."""
    schedule(shop.add.call(1, second=1), name="tick", every=1)
    yield
    del SCHEDULES["tick"]


async def ticks(service: QueueService) -> list[float]:
    return [record.scheduled_at.timestamp() for record in await service.find(RecordFilter(schedule="tick"))]


async def test_a_schedule_fires_and_its_records_run(service: QueueService, worker: Worker) -> None:
    async def has_run() -> bool:
        return len(await service.find(RecordFilter(schedule="tick", statuses=(TaskStatus.COMPLETED,)))) > 1

    await until(has_run, what="two records of the schedule have completed")

    (state,) = await service.schedules()
    assert (state.name, state.task_name, state.paused, state.retired) == ("tick", "shop.add", False, False)
    assert state.last_due is not None


async def test_several_workers_fire_each_due_time_once(service: QueueService) -> None:
    async def has_fired() -> bool:
        return len(await ticks(service)) > 2

    async with Worker(service), Worker(service), Worker(service):
        await until(has_fired, what="three due times have fired")
        seen = sorted(await ticks(service))

    assert seen == [seen[0] + second for second in range(len(seen))]


async def test_a_schedule_is_run_now_beside_its_plan(service: QueueService, worker: Worker) -> None:
    async def is_known() -> bool:
        return bool(await service.schedules())

    await until(is_known, what="the worker has declared the schedule")
    await service.pause_schedule("tick")

    record = await service.run_schedule("tick")

    ended = await service.wait(record.id, timeout=10)
    assert (ended.result, ended.schedule, ended.metadata) == ("2", "tick", {})


async def test_a_schedule_survives_a_change_of_all_processes(config: QueueConfig, service: QueueService) -> None:
    async def has_fired() -> bool:
        return len(await ticks(service)) > 0

    async with Worker(service):
        await until(has_fired, what="the schedule has fired")
    before = await ticks(service)

    async def has_fired_again() -> bool:
        return len(await ticks(service)) > len(before)

    async with Worker(service):
        await until(has_fired_again, what="the schedule has fired for another worker")

    after = await ticks(service)
    assert len(after) == len(set(after))
