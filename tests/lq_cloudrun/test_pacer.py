"""How the pace of a job adapts. The tests pass the times."""

from typing import Any

from lq_cloudrun import CloudRunExecutionConfig
from lq_cloudrun.dispatch.pacer import Pacer
from lq_cloudrun.google.refusal import Refusal


def a_pacer(**settings: Any) -> Pacer:
    values: dict[str, Any] = {"runs_per_minute": 60, **settings}
    return Pacer(CloudRunExecutionConfig("shop", job_name="tasks", **values))


def taken(pacer: Pacer, number: int, *, now: float) -> None:
    for _ in range(number):
        pacer.take(now)


def test_on_google_it_begins_below_the_smallest_known_quota() -> None:
    pacer = Pacer(CloudRunExecutionConfig("shop", job_name="tasks"))
    first = pacer.room(0)
    taken(pacer, first, now=0)

    assert first + pacer.rate < 10.5
    assert pacer.room(0) == 0


def test_after_a_rest_a_quarter_of_a_minute_may_start_at_once_and_the_rest_in_its_time() -> None:
    pacer = a_pacer()
    taken(pacer, pacer.room(0), now=0)

    assert (pacer.room(0), pacer.room(1), pacer.wait(1)) == (0, 1, 0)
    assert pacer.room(1000) == 15


def test_accepted_runs_raise_the_rate_up_to_its_ceiling() -> None:
    pacer = a_pacer(max_runs_per_minute=61)
    pacer.accepted()
    once = pacer.rate
    pacer.accepted()
    pacer.accepted()

    assert (once, pacer.rate) == (60.5, 61)


def test_a_refusal_for_the_quota_halves_the_rate_and_closes_the_job_for_one_run() -> None:
    pacer = a_pacer()
    pacer.take(0)

    assert pacer.slow_down(0) == 2
    assert (pacer.rate, pacer.room(1), pacer.room(2.5), pacer.in_flight) == (30, 0, 1, 0)


def test_refusals_that_arrive_together_slow_the_rate_once() -> None:
    pacer = a_pacer()
    for _ in range(6):
        pacer.take(0)

    pauses = [pacer.slow_down(0.1 * number) for number in range(6)]

    assert pacer.rate == 30
    assert pauses == sorted(pauses, reverse=True)
    assert (pacer.room(1), pacer.in_flight) == (0, 0)
    pacer.take(2.5)
    pacer.slow_down(2.5)
    assert pacer.rate == 15


def test_refusals_of_calls_that_began_together_slow_the_rate_once_however_late_they_arrive() -> None:
    pacer = a_pacer(runs_per_minute=180)
    taken(pacer, 6, now=0)

    pauses = [pacer.refused(Refusal.TOO_FAST, now, began=0) for now in (0.1, 1, 2, 3, 4, 5)]

    assert (pacer.rate, pacer.in_flight) == (90, 0)
    assert min(pauses) > 0
    pacer.take(6)
    pacer.refused(Refusal.TOO_FAST, 6.1, began=6)
    assert pacer.rate == 45


def test_a_refusal_that_arrives_late_is_no_second_look() -> None:
    pacer = a_pacer(breaker_pause=10)
    taken(pacer, 2, now=0)

    first = pacer.refused(Refusal.MISCONFIGURED, 0.1, began=0, falls_back=True)
    late = pacer.refused(Refusal.MISCONFIGURED, 20, began=0, falls_back=True)
    pacer.take(21)
    second = pacer.refused(Refusal.MISCONFIGURED, 21.1, began=21, falls_back=True)

    assert first == 10
    assert late > 0
    assert (second, pacer.in_flight) == (0, 0)


def test_a_job_that_refuses_is_tried_by_one_run_after_pauses_that_double() -> None:
    pacer = a_pacer(breaker_pause=10, max_breaker_pause=15)
    pacer.take(0)
    first = pacer.close(0)
    between = pacer.room(5)
    probing = pacer.room(10)
    pacer.take(10)
    second = pacer.close(10)
    pacer.take(30)
    pacer.accepted()

    assert (first, between, probing, second) == (10, 0, 1, 15)
    assert pacer.room(30) > 1


def test_workers_share_the_rate_and_the_room() -> None:
    pacer = a_pacer(max_in_flight=9)
    pacer.sharers = 2
    first = pacer.room(0)
    taken(pacer, 7, now=0)
    empty = pacer.wait(0)
    pacer.in_flight = 8

    # Half of 15, which a quarter of a minute allows, but at most half of the 9, rounded up.
    assert (first, empty) == (5, 1)
    assert pacer.room(1000) == 1


def test_no_more_than_the_cap_are_in_flight() -> None:
    pacer = a_pacer(max_in_flight=3)
    taken(pacer, 2, now=0)

    assert (pacer.room(0), pacer.wait(0)) == (1, 0)
    pacer.take(0)
    assert (pacer.room(0), pacer.wait(0)) == (0, 5)


def test_what_is_put_off_comes_back_one_after_another_no_faster_than_the_pace_may_rise() -> None:
    pacer = a_pacer(max_runs_per_minute=120, runs_per_minute=6)
    taken(pacer, pacer.room(0), now=0)

    assert pacer.wait(0) == 5
    assert [pacer.put_off(0) for _ in range(12)] == [5] * 10 + [5.5, 6]
    assert [pacer.put_off(2), pacer.put_off(100)] == [4.5, 0.5]


def test_what_is_put_off_at_the_cap_comes_back_no_faster_than_places_may_become_free() -> None:
    pacer = a_pacer(max_in_flight=2, poll_interval=4)
    taken(pacer, 2, now=0)

    assert [pacer.put_off(0) for _ in range(4)] == [4, 4, 6, 8]
    assert pacer.reason(0) == "2 of its records are in flight, which is max_in_flight"


def test_nothing_is_put_off_for_longer_than_ten_minutes() -> None:
    pacer = a_pacer()
    taken(pacer, 15, now=0)

    assert max(pacer.put_off(0) for _ in range(10_000)) == 600
    assert pacer.reason(0) == "its rate is 60 per minute"
