"""What becomes of due times: each is handled once, whatever the clock does, and the missed ones as was asked for."""

from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lq_core import TaskCall, task
from lq_core.schedules import schedule_state
from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule import CatchUp, Schedule
from lq_core.schedules.schedule_state import ScheduleState

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOURLY = Plan(cron="0 * * * *")


@task(name="tests.schedule_state.report")
async def report() -> None:
    """Do nothing."""


def a_schedule(plan: Plan = HOURLY, *, catch_up: CatchUp = "one", catch_up_limit: int = 100) -> Schedule:
    call = cast("TaskCall[object]", report.call())
    return Schedule(name="hourly", call=call, plan=plan, catch_up=catch_up, catch_up_limit=catch_up_limit)


def a_state(**changes: object) -> ScheduleState:
    """The state of a schedule that was declared at the start."""
    known = schedule_state.declare(None, a_schedule(), at=START)
    assert known is not None
    return replace(known, **changes)


def minutes_fired(schedule: Schedule, *, at: datetime) -> list[float]:
    """Fire a schedule that was declared at the start, and tell which due times get a record."""
    firing = schedule_state.fire(a_state(plan=schedule.plan), schedule, at=at)
    return [(due - START) / MINUTE for due in firing.times] if firing else []


def test_what_was_due_before_the_declaration_is_not_due() -> None:
    assert schedule_state.fire(a_state(), a_schedule(), at=START + 59 * MINUTE) is None


def test_a_due_time_fires_once() -> None:
    at = START + 60 * MINUTE

    firing = schedule_state.fire(a_state(), a_schedule(), at=at)

    assert firing is not None
    assert (list(firing.times), firing.caught_up, firing.dropped) == ([at], frozenset(), False)
    assert (firing.state.last_due, firing.state.version) == (at, 2)
    assert schedule_state.fire(firing.state, a_schedule(), at=at) is None


@pytest.mark.parametrize(
    "catch_up, late, fired",
    [
        ("skip", 0, [180]),
        ("skip", 1, [180]),
        ("skip", 2, []),
        ("one", 2, [180]),
        ("all", 2, [60, 120, 180]),
    ],
)
def test_after_an_outage_of_three_hours(catch_up: CatchUp, late: int, fired: list[float]) -> None:
    assert minutes_fired(a_schedule(catch_up=catch_up), at=START + (180 + late) * MINUTE) == fired


def test_of_more_than_the_bound_the_newest_are_made_up_for() -> None:
    schedule = a_schedule(catch_up="all", catch_up_limit=2)

    firing = schedule_state.fire(a_state(), schedule, at=START + 300 * MINUTE)

    assert firing is not None
    assert (list(firing.times), firing.dropped) == ([START + 240 * MINUTE, START + 300 * MINUTE], True)


def test_what_is_made_up_for_is_told_from_what_is_on_time() -> None:
    schedule = a_schedule(catch_up="all")

    on_time = schedule_state.fire(a_state(), schedule, at=START + 121 * MINUTE)
    late = schedule_state.fire(a_state(), schedule, at=START + 122 * MINUTE)

    assert on_time is not None
    assert on_time.caught_up == {START + 60 * MINUTE}
    assert late is not None
    assert late.caught_up == {START + 60 * MINUTE, START + 120 * MINUTE}


def test_what_came_before_the_newest_is_late_however_short_the_outage_was() -> None:
    schedule = a_schedule(Plan(every=10), catch_up="all")

    firing = schedule_state.fire(a_state(plan=schedule.plan), schedule, at=START + timedelta(seconds=25))

    assert firing is not None
    assert (len(firing.times), firing.caught_up) == (2, {START + timedelta(seconds=10)})


def test_an_outage_of_years_does_not_matter() -> None:
    schedule = a_schedule(Plan(every=1), catch_up="all", catch_up_limit=3)

    firing = schedule_state.fire(a_state(plan=schedule.plan), schedule, at=START + timedelta(days=3650))

    assert firing is not None
    assert len(firing.times) == 3


def test_a_clock_that_is_set_back_fires_nothing_twice() -> None:
    firing = schedule_state.fire(a_state(), a_schedule(), at=START + 120 * MINUTE)
    assert firing is not None

    assert schedule_state.fire(firing.state, a_schedule(), at=START + 60 * MINUTE) is None
    assert schedule_state.fire(firing.state, a_schedule(), at=START + 179 * MINUTE) is None
    assert schedule_state.fire(firing.state, a_schedule(), at=START + 180 * MINUTE) is not None


def test_a_clock_that_was_years_ahead_does_not_silence_a_schedule_for_years() -> None:
    ahead = a_state(handled_until=START + timedelta(days=3650))

    back = schedule_state.fire(ahead, a_schedule(), at=START)

    assert back is not None
    assert (list(back.times), back.state.next_due(after=START)) == ([], START + 60 * MINUTE)


@given(
    steps=st.lists(st.integers(-600, 3_000), max_size=30),
    catch_up=st.sampled_from(["skip", "one", "all"]),
    every=st.sampled_from([1.0, 60.0, 420.0, 3600.0, 86_400.0]),
)
def test_whatever_the_clock_does_every_due_time_is_handled_once_and_in_order(
    steps: list[int], catch_up: CatchUp, every: float
) -> None:
    schedule, at = a_schedule(Plan(every=every), catch_up=catch_up), START
    state, fired = a_state(plan=schedule.plan), [START]

    for seconds in steps:
        at += timedelta(seconds=seconds)
        firing = schedule_state.fire(state, schedule, at=at)
        state = firing.state if firing else state
        fired += firing.times if firing else []

    assert fired == sorted(set(fired))
    assert schedule_state.fire(state, schedule, at=at) is None


def test_a_paused_schedule_does_not_fire_and_the_pause_is_not_made_up_for() -> None:
    paused = schedule_state.pause(a_state())
    assert paused is not None
    assert schedule_state.pause(paused) is None

    later = START + 150 * MINUTE
    resumed = schedule_state.resume(paused, at=later)

    assert schedule_state.fire(paused, a_schedule(), at=later) is None
    assert paused.next_due(after=START) is None
    assert resumed is not None
    assert schedule_state.fire(resumed, a_schedule(), at=later) is None
    assert resumed.next_due(after=later) == START + 180 * MINUTE
    assert schedule_state.resume(resumed, at=later) is None


def test_a_pause_during_which_the_clock_is_set_back_fires_nothing_twice() -> None:
    paused = schedule_state.pause(a_state(handled_until=START + 60 * MINUTE))
    assert paused is not None

    resumed = schedule_state.resume(paused, at=START)

    assert resumed is not None
    assert schedule_state.fire(resumed, a_schedule(), at=START + 60 * MINUTE) is None


def test_another_plan_begins_anew() -> None:
    later = START + 90 * MINUTE

    state = schedule_state.declare(a_state(), a_schedule(Plan(cron="*/10 * * * *")), at=later)

    assert state is not None
    assert state.next_due(after=START) == START + 100 * MINUTE


def test_the_same_plan_goes_on_where_it_was() -> None:
    state = schedule_state.declare(a_state(), a_schedule(), at=START + 90 * MINUTE)

    assert state is not None
    assert state.next_due(after=START) == START + 60 * MINUTE


def test_many_workers_that_start_at_once_change_a_state_once() -> None:
    assert schedule_state.declare(a_state(), a_schedule(), at=START + timedelta(seconds=1)) is None


def test_a_schedule_without_a_declaration_is_retired_until_it_is_declared_again() -> None:
    later = START + 10 * MINUTE
    assert schedule_state.retire(a_state(), at=START + 9 * MINUTE) is None

    retired = schedule_state.retire(a_state(), at=later)

    assert retired is not None
    assert (retired.retired, retired.next_due(after=START)) == (True, None)
    assert schedule_state.retire(retired, at=later) is None
    again = schedule_state.declare(retired, a_schedule(), at=later)
    assert again is not None
    assert (again.retired, again.seen_at) == (False, later)
