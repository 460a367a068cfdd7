"""Workers fire what they declare: days pass in milliseconds, by a clock that is set by hand."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from msgspec.structs import replace

from lq_core import (
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    StorageError,
    TaskCall,
    TaskStatus,
    UnknownScheduleError,
    task,
)
from lq_core.contracts import a_claim, a_worker
from lq_core.queue import RecordFilter
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule import CatchUp, Schedule
from lq_core.schedules.schedule_state import ScheduleState
from lq_core.tasks.options import OptionArguments
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


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def service(clock: Clock) -> AsyncIterator[QueueService]:
    config = QueueConfig(execution_backend="immediate")
    async with QueueService(config, queue_backend=Forgetful(config, clock=clock)) as service:
        yield service


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


async def test_a_schedule_fires_at_its_due_times_also_when_the_clock_is_changed(
    service: QueueService, clock: Clock
) -> None:
    scheduler = a_scheduler(service, nightly())
    await scheduler.step()

    await let_pass(clock, 3 * DAY, scheduler)

    assert await due_times(service) == ["28 01:30", "29 01:00", "30 00:30"]


async def test_a_record_says_what_it_comes_from(service: QueueService, clock: Clock) -> None:
    call = report.using(expires_in=600).call("daily")
    scheduler = a_scheduler(service, nightly(call=call))
    await scheduler.step()

    await let_pass(clock, timedelta(hours=3), scheduler)

    (record,) = await fired(service)
    assert (record.task_name, record.arguments, record.queue) == ("tests.firing.report", '{"kind":"daily"}', "reports")
    assert (record.schedule, record.metadata) == ("nightly", {"lq.due": "2026-03-28T01:30:00+00:00"})
    assert (record.status, record.expires_at, record.history) == (
        TaskStatus.PENDING,
        record.created_at + timedelta(seconds=600),
        (),
    )


async def test_many_workers_fire_each_due_time_once(service: QueueService, clock: Clock) -> None:
    workers = [a_scheduler(service, nightly("*/10 * * * *")) for _ in range(5)]
    await asyncio.gather(*[worker.step() for worker in workers])

    await let_pass(clock, DAY, *workers)

    assert (await service.statistics()).total(TaskStatus.PENDING) == 144


async def test_what_an_outage_made_late_is_marked_as_caught_up(service: QueueService, clock: Clock) -> None:
    scheduler = a_scheduler(service, nightly(catch_up="all"))
    await scheduler.step()

    await let_pass(clock, 2 * DAY, scheduler, step=2 * DAY)

    assert await due_times(service) == ["28 01:30", "29 01:00"]
    assert [entry.event for record in await fired(service) for entry in record.history] == ["caught_up", "caught_up"]
    assert (await fired(service))[0].history[0].message == "It was due at 2026-03-28T01:30:00+00:00."


async def test_an_answer_that_was_lost_fires_nothing_twice(service: QueueService, clock: Clock) -> None:
    queue = service.queue_backend
    assert isinstance(queue, Forgetful)
    scheduler = a_scheduler(service, nightly())
    await scheduler.step()
    clock.at += timedelta(hours=3)
    queue.failures = 1

    with pytest.raises(StorageError):
        await scheduler.step()
    await let_pass(clock, timedelta(hours=1), scheduler)

    assert await due_times(service) == ["28 01:30"]


async def test_a_state_that_was_lost_fires_nothing_twice(service: QueueService, clock: Clock) -> None:
    queue = service.queue_backend
    assert isinstance(queue, Forgetful)
    scheduler = a_scheduler(service, nightly())
    await scheduler.step()
    await let_pass(clock, timedelta(hours=3), scheduler)

    queue.forget_schedules()
    await let_pass(clock, DAY, scheduler)
    (state,) = await service.schedules()
    before = replace(state, version=state.version + 1, handled_until=clock.at - 2 * DAY)
    assert await queue.save_schedule(before)
    await let_pass(clock, timedelta(hours=1), a_scheduler(service, nightly(catch_up="all")))

    assert await due_times(service) == ["28 01:30", "29 01:00"]


async def test_a_clock_that_was_years_ahead_does_not_silence_a_schedule(service: QueueService, clock: Clock) -> None:
    scheduler = a_scheduler(service, nightly())
    now = clock.at
    clock.at += 3650 * DAY
    await scheduler.step()

    clock.at = now
    await let_pass(clock, timedelta(hours=3), scheduler)

    assert await due_times(service) == ["28 01:30"]


async def test_a_clock_set_back_and_on_again_fires_nothing_twice(service: QueueService, clock: Clock) -> None:
    scheduler = a_scheduler(service, nightly("*/10 * * * *"))
    await scheduler.step()
    await let_pass(clock, timedelta(hours=2), scheduler)

    clock.at -= timedelta(hours=1)
    await let_pass(clock, timedelta(hours=2), scheduler)

    assert len(await fired(service)) == len(set(await due_times(service))) == 18


async def test_a_schedule_goes_on_whatever_becomes_of_its_records(service: QueueService, clock: Clock) -> None:
    scheduler = a_scheduler(service, nightly("0 * * * *"))
    await scheduler.step()
    await let_pass(clock, timedelta(hours=3), scheduler)
    first, second, third = await fired(service)
    queue = service.queue_backend
    await queue.register(a_worker())
    await queue.claim(a_claim(execution_backends=("immediate",), limit=1))
    await service.cancel(second.id)
    await service.execute_record(third)
    clock.at += MINUTE
    await queue.delete_ended(status=TaskStatus.COMPLETED, before=clock.at, limit=10)
    await queue.delete_ended(status=TaskStatus.CANCELLED, before=clock.at, limit=10)

    await let_pass(clock, timedelta(hours=2), scheduler)

    assert [record.id for record in await fired(service)][:1] == [first.id]
    assert await due_times(service) == ["28 00:00", "28 03:00", "28 04:00"]


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


@pytest.mark.parametrize("options", [{"execution_backend": "cloud.nowhere"}, {"queue": "nowhere"}], ids=str)
async def test_a_schedule_that_cannot_fire_holds_up_no_other(
    service: QueueService, clock: Clock, options: OptionArguments
) -> None:
    bad_call = report.using(**options).call("daily")
    bad = a_schedule(Plan(every=60), bad_call, name="bad")
    scheduler = a_scheduler(service, bad, nightly())
    await scheduler.step()

    await let_pass(clock, timedelta(hours=3), scheduler)

    assert await due_times(service) == ["28 01:30"]
    assert await fired(service, "bad") == []
    assert await scheduler.step() == service.config.poll_interval


async def test_a_due_time_without_a_record_is_not_told_as_the_last(service: QueueService, clock: Clock) -> None:
    scheduler = a_scheduler(service, nightly(call=report.using(key="report").call("daily")))
    await scheduler.step()
    holder = await service.enqueue(report.using(key="report", delay=DAY.total_seconds()), "daily")

    await let_pass(clock, timedelta(hours=3), scheduler)
    (left_out,) = await service.schedules()
    await service.cancel(holder.id)
    await let_pass(clock, DAY, scheduler)
    (made,) = await service.schedules()

    assert left_out.last_due is None
    assert [f"{made.last_due:%d %H:%M}"] == await due_times(service) == ["29 01:00"]


async def test_a_record_whose_key_is_held_is_left_out(service: QueueService, clock: Clock) -> None:
    call = report.using(key="report").call("daily")
    scheduler = a_scheduler(service, a_schedule(Plan(every=3600), call))
    await scheduler.step()

    await let_pass(clock, timedelta(hours=3), scheduler)

    assert await due_times(service) == ["28 00:00"]


async def test_a_worker_sleeps_until_the_next_due_time(service: QueueService, clock: Clock) -> None:
    scheduler = a_scheduler(service, nightly())
    await scheduler.step()
    far = await scheduler.step()

    clock.at = datetime(2026, 3, 28, 1, 29, 59, 750_000, tzinfo=UTC)
    soon = await scheduler.step()
    clock.at += timedelta(seconds=0.25)
    fires = await scheduler.step()

    assert (far, soon, fires) == (service.config.poll_interval, 0.25, 0)
    assert await scheduler.step() == service.config.poll_interval


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
