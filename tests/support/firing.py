"""Schedules, and workers that fire them: days pass in milliseconds, by a clock that is set by hand."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

from lq_core import QueuedTaskRecord, QueueService, StorageError, TaskCall, task
from lq_core.queue import RecordFilter
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule import CatchUp, Schedule
from lq_core.schedules.schedule_state import ScheduleState
from lq_core.worker.scheduler import Scheduler

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@task(name="tests.firing.report", queue="reports")
async def report(kind: str) -> str:
    return kind


class Clock:
    """The time, as the test says it is."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 27, 23, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


class Forgetful(InMemoryQueueBackend):
    """Saves, and loses the connection before it can say so, as often as it is told to."""

    failures = 0

    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        if any(record.queue == "nowhere" for record in records):
            raise ValueError("A database cannot keep this record.")
        saved = await super().save_schedule(state, records)
        if self.failures:
            self.failures -= 1
            raise StorageError("The connection was lost.")
        return saved

    def forget_schedules(self) -> None:
        """Lose every state."""
        self._schedules.clear()


def a_schedule(
    plan: Plan, call: TaskCall[str] | None = None, *, name: str = "nightly", catch_up: CatchUp = "one"
) -> Schedule:
    anything = cast("TaskCall[object]", call or report.call("daily"))
    return Schedule(name=name, call=anything, plan=plan, catch_up=catch_up)


def nightly(cron: str = "30 2 * * *", call: TaskCall[str] | None = None, *, catch_up: CatchUp = "one") -> Schedule:
    return a_schedule(Plan(cron=cron, timezone="Europe/Berlin"), call, catch_up=catch_up)


def a_scheduler(service: QueueService, *schedules: Schedule) -> Scheduler:
    """What a worker does whose code declares these."""
    declared: Mapping[str, Schedule] = {schedule.name: schedule for schedule in schedules}
    return Scheduler(service, declared=lambda: declared)


async def let_pass(clock: Clock, duration: timedelta, *schedulers: Scheduler, step: timedelta = 10 * MINUTE) -> None:
    """Set the clock on, step by step, with every worker looking at it at once."""
    end = clock.at + duration
    while clock.at < end:
        clock.at = min(end, clock.at + step)
        await asyncio.gather(*[scheduler.step() for scheduler in schedulers])


async def fired(service: QueueService, name: str = "nightly") -> list[QueuedTaskRecord]:
    return list((await service.find(RecordFilter(schedule=name)))[::-1])


async def due_times(service: QueueService) -> list[str]:
    return [f"{record.scheduled_at:%d %H:%M}" for record in await fired(service)]
