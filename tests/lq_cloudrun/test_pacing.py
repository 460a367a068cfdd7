"""How the pace of a job adapts; the times are given."""

from typing import Any

from lq_cloudrun import CloudRunExecutionConfig
from lq_cloudrun.pacing import Lane


def a_lane(**settings: Any) -> Lane:
    values: dict[str, Any] = {"runs_per_minute": 60, **settings}
    return Lane(CloudRunExecutionConfig("shop", job_name="tasks", **values))


def taken(lane: Lane, number: int, *, now: float) -> None:
    for _ in range(number):
        lane.take(now)


def test_on_google_it_begins_below_the_smallest_known_quota() -> None:
    lane = Lane(CloudRunExecutionConfig("shop", job_name="tasks"))
    first = lane.room(0)
    taken(lane, first, now=0)

    assert first + lane.rate < 10.5
    assert lane.room(0) == 0


def test_after_a_rest_a_quarter_of_a_minute_may_start_at_once_and_the_rest_in_its_time() -> None:
    lane = a_lane()
    taken(lane, lane.room(0), now=0)

    assert (lane.room(0), lane.room(1), lane.wait(1)) == (0, 1, 0)
    assert lane.room(1000) == 15


def test_accepted_runs_raise_the_rate_up_to_its_ceiling() -> None:
    lane = a_lane(max_runs_per_minute=61)
    lane.accepted()
    once = lane.rate
    lane.accepted()
    lane.accepted()

    assert (once, lane.rate) == (60.5, 61)


def test_a_refusal_for_the_quota_halves_the_rate_and_closes_the_job_for_one_run() -> None:
    lane = a_lane()
    lane.take(0)

    assert lane.slow_down(0) == 2
    assert (lane.rate, lane.room(1), lane.room(2.5), lane.in_flight) == (30, 0, 1, 0)


def test_a_job_that_refuses_is_tried_by_one_run_after_pauses_that_double() -> None:
    lane = a_lane(breaker_pause=10, max_breaker_pause=15)
    lane.take(0)
    first = lane.close(0)
    between = lane.room(5)
    probing = lane.room(10)
    lane.take(10)
    second = lane.close(10)
    lane.take(30)
    lane.accepted()

    assert (first, between, probing, second) == (10, 0, 1, 15)
    assert lane.room(30) > 1


def test_workers_share_the_rate_and_the_room() -> None:
    lane = a_lane(max_in_flight=9)
    lane.sharers = 2
    first = lane.room(0)
    taken(lane, 7, now=0)
    empty = lane.wait(0)
    lane.in_flight = 8

    # Half of 15, which a quarter of a minute allows, but no more than half of the 9, rounded up.
    assert (first, empty) == (5, 1)
    assert lane.room(1000) == 1


def test_no_more_than_the_cap_are_in_flight() -> None:
    lane = a_lane(max_in_flight=3)
    taken(lane, 2, now=0)

    assert (lane.room(0), lane.wait(0)) == (1, 0)
    lane.take(0)
    assert (lane.room(0), lane.wait(0)) == (0, 5)


def test_what_is_put_off_comes_back_one_after_another_no_faster_than_the_pace_may_rise() -> None:
    lane = a_lane(max_runs_per_minute=120, runs_per_minute=6)
    taken(lane, lane.room(0), now=0)

    assert lane.wait(0) == 5
    assert [lane.put_off(0) for _ in range(12)] == [5] * 10 + [5.5, 6]
    assert [lane.put_off(2), lane.put_off(100)] == [4.5, 0.5]


def test_what_is_put_off_at_the_cap_comes_back_no_faster_than_places_may_become_free() -> None:
    lane = a_lane(max_in_flight=2, poll_interval=4)
    taken(lane, 2, now=0)

    assert [lane.put_off(0) for _ in range(4)] == [4, 4, 6, 8]
    assert lane.reason(0) == "2 of its records are with Cloud Run, which is max_in_flight"


def test_nothing_is_put_off_for_longer_than_ten_minutes() -> None:
    lane = a_lane()
    taken(lane, 15, now=0)

    assert max(lane.put_off(0) for _ in range(10_000)) == 600
    assert lane.reason(0) == "its pace is 60 in a minute"
