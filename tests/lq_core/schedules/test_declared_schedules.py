"""Schedules are declared, changed, retired, paused and looked at while workers fire them."""

import asyncio
from datetime import timedelta

import pytest

from firing import DAY, MINUTE, Clock, a_schedule, a_scheduler, due_times, let_pass, nightly
from lq_core import QueueService, UnknownScheduleError
from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule import Schedule
from lq_core.worker.scheduler import Scheduler


async def test_of_two_versions_of_the_code_the_one_that_started_last_says_when(
    service: QueueService, clock: Clock
) -> None:
    old, new = a_scheduler(service, nightly("0 * * * *")), a_scheduler(service, nightly("30 * * * *"))
    await old.step()
    await let_pass(clock, timedelta(hours=1), old)
    await new.step()

    await let_pass(clock, timedelta(hours=2), old, new)

    assert await due_times(service) == ["28 00:00", "28 00:30", "28 01:30"]
    assert [state.plan.cron for state in await service.schedules()] == ["30 * * * *"]


async def test_a_schedule_that_no_code_declares_any_more_is_retired(service: QueueService, clock: Clock) -> None:
    before, after = a_scheduler(service, nightly()), a_scheduler(service)
    await before.step()
    await let_pass(clock, timedelta(hours=3), before, after)
    assert [state.retired for state in await service.schedules()] == [False]

    await let_pass(clock, DAY, after)

    assert [state.retired for state in await service.schedules()] == [True]
    assert await due_times(service) == ["28 01:30"]


async def test_a_schedule_that_is_seldom_due_is_not_retired_beside_one_that_is_always_due(
    service: QueueService, clock: Clock
) -> None:
    ours = a_scheduler(service, nightly(), a_schedule(Plan(every=60), name="always"))
    await ours.step()

    await let_pass(clock, timedelta(hours=1), ours, a_scheduler(service), step=MINUTE)

    assert [state.retired for state in await service.schedules()] == [False, False]


async def test_a_retired_schedule_comes_back_when_it_is_declared_again(service: QueueService, clock: Clock) -> None:
    await a_scheduler(service, nightly()).step()
    await let_pass(clock, timedelta(hours=1), a_scheduler(service))

    again = a_scheduler(service, nightly())
    await let_pass(clock, timedelta(hours=2), again)

    assert [state.retired for state in await service.schedules()] == [False]
    assert await due_times(service) == ["28 01:30"]


async def test_a_schedule_that_is_declared_while_the_worker_runs_is_fired(service: QueueService, clock: Clock) -> None:
    declared: dict[str, Schedule] = {}
    scheduler = Scheduler(service, declared=lambda: declared)
    await let_pass(clock, timedelta(hours=1), scheduler)
    declared["nightly"] = nightly()

    await let_pass(clock, timedelta(hours=2), scheduler)

    assert await due_times(service) == ["28 01:30"]


async def test_a_paused_schedule_does_not_fire_until_it_is_resumed(service: QueueService, clock: Clock) -> None:
    scheduler = a_scheduler(service, nightly())
    await scheduler.step()
    await service.pause_schedule("nightly")
    await let_pass(clock, DAY, scheduler)
    assert await scheduler.step() == service.config.poll_interval

    await service.resume_schedule("nightly")
    await let_pass(clock, DAY, scheduler)

    assert await due_times(service) == ["29 01:00"]


async def test_the_next_times_are_told(service: QueueService) -> None:
    await a_scheduler(service, nightly()).step()

    times = await service.next_times("nightly", 2)

    assert [f"{time:%d %H:%M}" for time in times] == ["28 01:30", "29 01:00"]


async def test_a_schedule_that_is_not_known_is_said_to_be_so(service: QueueService) -> None:
    await a_scheduler(service, nightly()).step()

    with pytest.raises(UnknownScheduleError, match="Did you mean 'nightly'"):
        await service.pause_schedule("nightyl")
    with pytest.raises(UnknownScheduleError):
        await service.resume_schedule("nightyl")
    with pytest.raises(UnknownScheduleError):
        await service.next_times("nightyl")
    with pytest.raises(UnknownScheduleError):
        await service.run_schedule("nightyl")


async def test_states_can_be_changed_by_several_at_once(service: QueueService) -> None:
    await a_scheduler(service, nightly()).step()

    await asyncio.gather(*[service.pause_schedule("nightly") for _ in range(5)])

    assert [state.paused for state in await service.schedules()] == [True]
