"""When a plan is due: on ordinary days, and on those when the clock is changed, in any time zone."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lq_core import ConfigurationError
from lq_core.schedules.cron_plan import Plan

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

# Each with two days on which its clock was changed: forward, back.
CHANGES: Mapping[str, tuple[datetime, datetime]] = {
    "Europe/Berlin": (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)),
    "Europe/Dublin": (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)),
    "America/New_York": (datetime(2026, 3, 8, 6, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)),
    # At midnight, so that a day begins at one o'clock.
    "America/Santiago": (datetime(2025, 9, 7, 4, tzinfo=UTC), datetime(2025, 4, 6, 3, tzinfo=UTC)),
    # By half an hour.
    "Australia/Lord_Howe": (datetime(2025, 10, 4, 15, tzinfo=UTC), datetime(2025, 4, 5, 15, tzinfo=UTC)),
    # By two hours.
    "Antarctica/Troll": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    # The 30th of December 2011 was left out; the year began with summer time, which had to end.
    "Pacific/Apia": (datetime(2011, 12, 30, 10, tzinfo=UTC), datetime(2011, 4, 2, 14, tzinfo=UTC)),
    "Asia/Kolkata": (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)),
}

MINUTES: Mapping[str, Sequence[int]] = {
    "*": range(60),
    "*/7": range(0, 60, 7),
    "0": [0],
    "30": [30],
    "15,45": [15, 45],
    "1-59/5": range(1, 60, 5),
}
HOURS: Mapping[str, Sequence[int]] = {
    "*": range(24),
    "*/2": range(0, 24, 2),
    "0": [0],
    "1": [1],
    "2": [2],
    "0-3": range(4),
    "2,23": [2, 23],
}
INTERVALS: Sequence[float] = [60, 480, 900, 1800, 3600, 5400, 7200, 21_600, 86_400]


@st.composite
def places(draw: st.DrawFn) -> tuple[str, datetime]:
    """A time zone, and a moment around one of the changes of its clock."""
    zone = draw(st.sampled_from(sorted(CHANGES)))
    minutes, seconds = draw(st.integers(-180, 180) | st.integers(-1_600, 1_600)), draw(st.sampled_from([0, 0, 1, 59.9]))
    return zone, draw(st.sampled_from(CHANGES[zone])) + timedelta(minutes=minutes, seconds=seconds)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A cron text, or an interval that goes into a day."""
    every = draw(st.sampled_from([None, *INTERVALS]))
    if every is not None:
        return Plan(every=every)
    return Plan(cron=f"{draw(st.sampled_from([*MINUTES]))} {draw(st.sampled_from([*HOURS]))} * * *")


def plan_times(plan: Plan) -> frozenset[tuple[int, int]]:
    """The hours and minutes that a plan names on each day, worked out without the parser."""
    if plan.every is not None:
        return frozenset(divmod(second // 60, 60) for second in range(0, 86_400, int(plan.every)))
    minute, hour, *_ = (plan.cron or "").split()
    return frozenset((each_hour, each_minute) for each_hour in HOURS[hour] for each_minute in MINUTES[minute])


def shown(zone: ZoneInfo, moment: datetime) -> datetime:
    """What the clock shows."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def watched(plan: Plan, start: datetime, end: datetime) -> list[datetime]:
    """Look at the clock every minute, and tell when the plan was due: the rule in its plainest form."""
    zone, times = ZoneInfo(plan.timezone), plan_times(plan)
    first = start.replace(second=0, microsecond=0)
    latest = max(shown(zone, first - minutes * MINUTE) for minutes in range(1, 181))
    due: list[datetime] = []
    moment = first
    while moment < end:
        now = shown(zone, moment)
        passed = [latest + minute * MINUTE for minute in range(1, (now - latest) // MINUTE + 1)]
        read = [now] if plan.is_frequent else passed
        if moment > start and any((time.hour, time.minute) in times for time in read):
            due.append(moment)
        latest = max(latest, now)
        moment += MINUTE
    return due


def until(end: datetime, times: Iterable[datetime]) -> list[datetime]:
    return list(takewhile(lambda time: time < end, times))


def since(start: datetime, times: Iterable[datetime]) -> list[datetime]:
    return list(takewhile(lambda time: time > start, times))


@settings(max_examples=400, deadline=None)
@given(plan=plans(), place=places(), minutes=st.integers(0, 180) | st.integers(0, 2_400))
def test_a_plan_is_due_when_who_watches_the_clock_says_so(
    plan: Plan, place: tuple[str, datetime], minutes: int
) -> None:
    zone, start = place
    plan = Plan(cron=plan.cron, every=plan.every, timezone=zone)
    end = start + minutes * MINUTE

    expected = watched(plan, start, end)

    assert until(end, plan.after(start)) == expected
    assert since(start, plan.until(end - timedelta.resolution)) == expected[::-1]


@settings(max_examples=150, deadline=None)
@given(plan=plans(), place=places(), minutes=st.integers(0, 3_000))
def test_no_due_time_is_lost_or_doubled_where_somebody_stops_and_another_goes_on(
    plan: Plan, place: tuple[str, datetime], minutes: int
) -> None:
    zone, start = place
    plan = Plan(cron=plan.cron, every=plan.every, timezone=zone)
    middle, end = start + minutes * MINUTE, start + 3_001 * MINUTE

    whole = until(end, plan.after(start))
    halves = [*takewhile(lambda time: time <= middle, plan.after(start)), *until(end, plan.after(middle))]

    assert halves == whole == sorted(set(whole))


def local(plan: Plan, start: datetime, count: int) -> list[str]:
    return [f"{time.astimezone(ZoneInfo(plan.timezone)):%d %H:%M %Z}" for time in islice(plan.after(start), count)]


# Midnight in Berlin, a day before the clock is changed.
SPRING, AUTUMN = datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 10, 23, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    "plan, start, times",
    [
        (Plan(cron="30 2 * * *"), SPRING, ["28 02:30 CET", "29 03:00 CEST", "30 02:30 CEST"]),
        (Plan(cron="30 2 * * *"), AUTUMN, ["24 02:30 CEST", "25 02:30 CEST", "26 02:30 CET"]),
        (Plan(cron="0,30 2 * * *"), SPRING + DAY, ["29 03:00 CEST", "30 02:00 CEST"]),
        (Plan(cron="0 2,3 * * *"), SPRING + DAY, ["29 03:00 CEST", "30 02:00 CEST"]),
        (Plan(cron="0 * * * *"), SPRING + DAY, ["29 00:00 CET", "29 01:00 CET", "29 03:00 CEST"]),
        (
            Plan(cron="0 * * * *"),
            AUTUMN + DAY,
            ["25 00:00 CEST", "25 01:00 CEST", "25 02:00 CEST", "25 02:00 CET", "25 03:00 CET"],
        ),
        (Plan(cron="*/30 2 * * *"), SPRING + DAY, ["30 02:00 CEST", "30 02:30 CEST"]),
        (Plan(every=7200), SPRING + DAY, ["29 00:00 CET", "29 03:00 CEST", "29 04:00 CEST"]),
        (Plan(every=7200), AUTUMN + DAY, ["25 00:00 CEST", "25 02:00 CEST", "25 04:00 CET"]),
        (Plan(every=3600), SPRING + DAY, ["29 00:00 CET", "29 01:00 CET", "29 03:00 CEST"]),
        (Plan(every=3600), AUTUMN + DAY, ["25 00:00 CEST", "25 01:00 CEST", "25 02:00 CEST", "25 02:00 CET"]),
        (Plan(every=86_400), SPRING, ["28 00:00 CET", "29 00:00 CET", "30 00:00 CEST"]),
        (Plan(every=604_800), SPRING, ["30 00:00 CEST", "06 00:00 CEST"]),
    ],
    ids=str,
)
def test_days_on_which_the_clock_is_changed(plan: Plan, start: datetime, times: list[str]) -> None:
    there = Plan(cron=plan.cron, every=plan.every, timezone="Europe/Berlin")

    assert local(there, start - timedelta.resolution, len(times)) == times


def test_a_plan_that_is_due_once_a_year_is_found_in_the_repeated_hour() -> None:
    plan = Plan(cron="*/30 2 25 10 *", timezone="Europe/Berlin")

    assert local(plan, datetime(2026, 1, 1, tzinfo=UTC), 5) == [
        *("25 02:00 CEST", "25 02:30 CEST", "25 02:00 CET", "25 02:30 CET", "25 02:00 CEST")
    ]


def test_at_the_beginning_of_the_second_pass_the_last_due_time_was_in_the_first() -> None:
    plan = Plan(cron="45 * * * *", timezone="Europe/Berlin")

    last = next(plan.until(datetime(2026, 10, 25, 1, 5, tzinfo=UTC)))

    assert f"{plan.on_its_clock(last):%H:%M %Z}" == "02:45 CEST"


def test_the_last_due_time_is_found_at_once_however_long_ago_the_first_was() -> None:
    plan = Plan(every=1)

    assert next(plan.until(datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC))) == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "plan, problem",
    [
        (Plan(), "cron is None and every is None; a schedule takes exactly one of them."),
        (Plan(cron="0 3 * * *", every=60), "cron is '0 3 * * *' and every is 60"),
        (
            Plan(cron="0 25 * * *"),
            "The cron text '0 25 * * *' does not fit: Bad hour. It takes five fields: minute, hour",
        ),
        (Plan(cron="0 3 * *"), "Wrong number of fields"),
        (Plan(cron="*/5 0 3 * * *"), "Wrong number of fields"),
        (Plan(cron="@daily"), "Wrong number of fields"),
        (
            Plan(cron=7),  # pyright: ignore[reportArgumentType] -- the mistake is the example
            "cron is 7; it must be text",
        ),
        (Plan(cron=""), "Wrong number of fields"),
        (Plan(cron="0 0 30 2 *"), "Bad day-of-month"),
        (Plan(cron="* * */20 * 1L"), "names no day of the next fifty years"),
        (Plan(every=0), "every is 0; it must be a number of seconds from 1"),
        (Plan(every=-60), "every is -60; it must be a number of seconds from 1"),
        (Plan(every=float("nan")), "every is nan"),
        (Plan(every=float("inf")), "every is inf"),
        (Plan(every=True), "every is True; it must be a number of seconds"),
        (Plan(every=60, timezone="Europe/Berln"), "'Europe/Berln' is not known. Did you mean 'Europe/Berlin'?"),
        (Plan(every=60, timezone="utc"), "Did you mean 'UTC'?"),
        (Plan(every=60, timezone="Europe"), "The time zone 'Europe' is not known."),
        (Plan(every=60, timezone="../etc/passwd"), "is not known."),
        (Plan(every=60, timezone=""), "The time zone '' is not known."),
    ],
    ids=str,
)
def test_a_plan_that_cannot_work_is_refused_with_the_value_and_the_rule(plan: Plan, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan.check()

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "plan, words",
    [
        (Plan(cron="0 3 * * 1-5"), "At 03:00 on Monday through Friday"),
        (Plan(cron="*/15 9-17 * * *"), "Every 15th minute from 09:00 through 17:59"),
        (Plan(every=900), "Every 15 minutes"),
        (Plan(every=3600), "Every hour"),
        (Plan(every=86_400), "Every day"),
        (Plan(every=1.5), "Every 1.5 seconds"),
        (Plan(every=1), "Every second"),
    ],
    ids=str,
)
def test_a_plan_is_told_in_words(plan: Plan, words: str) -> None:
    assert plan.in_words() == words
