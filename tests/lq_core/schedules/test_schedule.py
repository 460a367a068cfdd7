"""Declaring schedules: what is refused, and how the rest is found."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lq_core import (
    ConfigurationError,
    DuplicateScheduleError,
    TaskDefinitionError,
    UnknownScheduleError,
    find_schedule,
    known_schedules,
    schedule,
    task,
)
from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule import SCHEDULES

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@task(name="tests.schedules.report")
async def report(kind: str = "daily") -> str:
    return kind


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Take back what a test has declared, or the workers of other tests would fire it."""
    before = set(known_schedules())
    yield
    for name in set(known_schedules()) - before:
        del SCHEDULES[name]


def test_a_declared_schedule_is_found_by_its_name() -> None:
    nightly = schedule(report.call(), name="nightly", cron="0 3 * * *", timezone="Europe/Berlin")

    assert find_schedule("nightly") is nightly
    assert known_schedules()["nightly"].plan == Plan(cron="0 3 * * *", timezone="Europe/Berlin")


def test_an_unknown_schedule_is_answered_with_the_closest() -> None:
    schedule(report.call(), name="nightly-report", every=60)

    with pytest.raises(UnknownScheduleError, match=r"There is no schedule 'nightly-reprot'. Did you mean 'nightly-rep"):
        find_schedule("nightly-reprot")


def test_two_schedules_cannot_have_one_name() -> None:
    schedule(report.call(), name="nightly", every=60)

    with pytest.raises(DuplicateScheduleError, match="'nightly' belongs to another schedule already"):
        schedule(report.call("weekly"), name="nightly", every=60)
    with pytest.raises(DuplicateScheduleError):
        schedule(report.call(), name="nightly", every=61)


def test_a_module_that_is_imported_twice_declares_its_schedule_once() -> None:
    schedule(report.using(queue="reports").call(), name="nightly", every=60)
    schedule(report.using(queue="reports").call(), name="nightly", every=60)

    assert list(known_schedules()) == ["nightly"]


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"cron": "0 3 * * *", "every": 60}, "cron is '0 3 * * *' and every is 60; a schedule takes exactly one"),
        ({}, "cron is None and every is None"),
        ({"cron": "0 3 * *"}, "The cron text '0 3 * *' does not fit"),
        ({"every": -1}, "every is -1"),
        ({"every": 60, "timezone": "Europe/Berln"}, "Did you mean 'Europe/Berlin'?"),
        ({"every": 60, "catch_up": "some"}, "catch_up is 'some'; it must be 'skip', 'one' or 'all'."),
        ({"every": 60, "catch_up_limit": 0}, "catch_up_limit is 0; it must be a whole number from 1 to 10000."),
        ({"every": 60, "catch_up": "skip", "catch_up_limit": 5}, "catch_up_limit is 5 and catch_up is 'skip'"),
        ({"every": 60, "catch_up_limit": 1.5}, "catch_up_limit is 1.5"),
        ({"every": 60, "name": ""}, "name is ''; it must be printable text of 1 to 255 characters."),
        ({"every": 60, "name": "n" * 256}, "(256 characters); it must be printable text of 1 to 255 characters."),
        ({"every": 60, "name": "a\nb"}, "it must be printable text"),
        ({"every": 60, "name": 7}, "it must be printable text"),
    ],
)
def test_what_cannot_work_is_refused_with_the_value_and_the_rule(options: dict[str, Any], problem: str) -> None:
    given: dict[str, Any] = {"name": "nightly", **options}

    with pytest.raises(ConfigurationError) as caught:
        schedule(report.call(), **given)

    assert problem in str(caught.value)
    assert not known_schedules()


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"delay": 5}, "delay is 5.0 in the call of a schedule"),
        ({"scheduled_at": NOON}, "scheduled_at is "),
        ({"expires_at": NOON}, "expires_at is "),
    ],
)
def test_the_schedule_alone_says_when(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        schedule(report.using(**options).call(), name="nightly", every=60)


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"key_scope": "started"}, "key_scope is started, and the call has no key"),
        ({"on_conflict": "reject"}, "on_conflict is reject, and the call has no key"),
        ({"key": "one", "on_conflict": "replace"}, "on_conflict is 'replace' in the call of a schedule"),
        ({"key_from": ["kind"], "on_conflict": "reject"}, "on_conflict is 'reject' in the call of a schedule"),
    ],
)
def test_a_call_that_could_never_be_enqueued_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        schedule(report.using(**options).call(), name="nightly", every=60)


def test_what_is_scheduled_is_a_call() -> None:
    with pytest.raises(TaskDefinitionError, match="is not a call of a task"):
        schedule(report, name="nightly", every=60)  # pyright: ignore[reportArgumentType] -- the mistake is the example
