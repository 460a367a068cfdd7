"""Workers fire each due time once, whatever happens to clocks, answers and records, and say how long they may sleep."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from firing import DAY, MINUTE, Clock, Forgetful, a_schedule, a_scheduler, due_times, fired, let_pass, nightly, report
from lq_core import QueueService, StorageError, TaskStatus
from lq_core.contracts import a_claim, a_worker
from lq_core.schedules.cron_plan import Plan
from lq_core.tasks.options import OptionArguments


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
