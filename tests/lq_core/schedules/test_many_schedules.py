"""Many schedules are read together: how often the states are read does not grow with their number."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from lq_core import QueueConfig, QueueService, TaskCall, task
from lq_core.queue import RecordFilter
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule import Schedule
from lq_core.schedules.schedule_state import ScheduleState
from lq_core.worker.scheduler import Scheduler

NUMBER = 300


@task(name="tests.many_schedules.report")
async def report(shop: int) -> int:
    return shop


class Counting(InMemoryQueueBackend):
    """Counts how often all states are read, at a moment that the test sets."""

    def __init__(self, config: QueueConfig) -> None:
        self.at = datetime(2026, 3, 27, 23, tzinfo=UTC)
        self.reads = 0
        super().__init__(config, clock=lambda: self.at)

    async def schedules(self) -> Sequence[ScheduleState]:
        self.reads += 1
        return await super().schedules()


@pytest.fixture
def queue() -> Counting:
    return Counting(QueueConfig())


@pytest.fixture
async def service(queue: Counting) -> AsyncIterator[QueueService]:
    async with QueueService(QueueConfig(), queue_backend=queue) as service:
        yield service


@pytest.fixture
def scheduler(service: QueueService) -> Scheduler:
    schedules = {
        name: Schedule(name=name, call=cast("TaskCall[object]", report.call(number)), plan=Plan(every=3600))
        for number, name in enumerate(f"shop {number}" for number in range(NUMBER))
    }
    return Scheduler(service, declared=lambda: schedules)


async def test_many_schedules_are_declared_after_one_look(queue: Counting, scheduler: Scheduler) -> None:
    await scheduler.step()

    assert (queue.reads, len(await queue.schedules())) == (2, NUMBER)


async def test_many_schedules_fire_after_one_look(queue: Counting, service: QueueService, scheduler: Scheduler) -> None:
    await scheduler.step()
    queue.reads = 0
    queue.at += timedelta(hours=1)

    await scheduler.step()

    assert (queue.reads, await service.count(RecordFilter(task_names=(report.name,)))) == (1, NUMBER)


async def test_one_of_many_schedules_is_paused_without_reading_the_others(
    queue: Counting, service: QueueService, scheduler: Scheduler
) -> None:
    await scheduler.step()
    queue.reads = 0

    await service.pause_schedule("shop 7")

    assert queue.reads == 0
