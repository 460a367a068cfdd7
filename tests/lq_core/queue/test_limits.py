"""Limits: invalid values, and how many records may start at a moment."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from lq_core import ConfigurationError, Limits, QueueConfig, RateLimit
from lq_core.queue.limits import Allowances, Partition, Subject, pick
from lq_core.tasks.options import TaskOptions

NOON = datetime(2026, 10, 25, 12, tzinfo=UTC)
ANN = Subject("key", "ann")


def waiting(*places: int, key: str | None = None, limits: Limits | None = None) -> Partition[tuple[int]]:
    """Make a partition with records in these places."""
    return Partition("mail", iter([(place,) for place in places]), key=key, limits=limits)


def at(moment: datetime, buckets: Mapping[Subject, datetime] | None = None, *, running: int = 0) -> Allowances:
    """Make the allowances of a moment."""
    return Allowances(moment, running=lambda _: running, full_at=(buckets or {}).get)


def count(moment: datetime, limits: Limits, buckets: dict[Subject, datetime]) -> int:
    """Count how many records start at a moment, and store the buckets."""
    allowances = at(moment, buckets)
    picked, _ = pick([waiting(*range(100), key="ann", limits=limits)], 100, allowances)
    buckets.update(allowances.changed)
    return len(picked)


def test_a_rate_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"rate is 5; it must be a RateLimit, such as RateLimit\(5, per=60\)"):
        Limits(rate=5).check()  # pyright: ignore[reportArgumentType] -- that is the test


@pytest.mark.parametrize(
    "numbers, problem",
    [
        ((0,), "count is 0; it must be a whole number from 1"),
        ((-1,), "count is -1"),
        ((True,), "count is True"),
        ((1.5,), "count is 1.5"),
        ((1, 0), "per is 0; it must be a number of seconds greater than 0"),
        ((1, float("inf")), "per is inf"),
        ((1, float("nan")), "per is nan"),
        ((1, 1, 0), "burst is 0"),
        ((1, 3600, 2**31 - 1), "burst is 2147483647, which 1 per 3600 s would not fill"),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused_with_its_value(numbers: tuple[int], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        TaskOptions(concurrency_key="ann", rate=RateLimit(*numbers))


def test_a_concurrency_key_alone_means_one_at_a_time() -> None:
    assert TaskOptions(concurrency_key="ann").limits == Limits(concurrency=1)
    assert TaskOptions(concurrency_key="ann", concurrency=3).limits == Limits(concurrency=3)
    assert TaskOptions(concurrency_key="ann", rate=RateLimit(5)).limits == Limits(rate=RateLimit(5))
    assert TaskOptions().limits is None


def test_a_queue_is_limited_by_limits_and_nothing_else() -> None:
    with pytest.raises(ConfigurationError, match=r"queue_limits is {'mail': 5}; it must be a dict"):
        QueueConfig(queue_limits={"mail": 5})  # pyright: ignore[reportArgumentType] -- the mistake is the example


def test_limited_records_are_left_out_and_the_others_come_in_order() -> None:
    capped = waiting(1, 2, 3, key="ann", limits=Limits(concurrency=2))

    picked, held_back = pick([waiting(0, 5, 7), capped], 4, at(NOON, running=1))

    assert (list(picked), held_back) == ([(0,), (1,), (5,), (7,)], True)


def test_nothing_is_held_back_when_there_is_room() -> None:
    assert pick([waiting(1, key="ann", limits=Limits(concurrency=2))], 4, at(NOON)) == ([(1,)], False)


def test_a_bucket_fills_up_evenly_and_never_over_its_brim() -> None:
    rate, buckets = Limits(rate=RateLimit(4, per=2, burst=3)), dict[Subject, datetime]()

    started = [count(NOON + timedelta(seconds=seconds), rate, buckets) for seconds in (0, 0.4, 0.5, 1.6, 100)]

    assert started == [3, 0, 1, 2, 3]


def test_the_next_token_is_exact_to_the_microsecond() -> None:
    rate, buckets = Limits(rate=RateLimit(3)), dict[Subject, datetime]()
    count(NOON, rate, buckets)

    opens_at = at(NOON, buckets).opens_at(waiting(1, key="ann", limits=rate))

    assert opens_at is not None
    assert count(opens_at - timedelta(microseconds=1), rate, dict(buckets)) == 0
    assert count(opens_at, rate, buckets) == 1


def test_a_clock_that_goes_back_brings_no_tokens_and_takes_away_at_most_a_full_bucket() -> None:
    rate, buckets = Limits(rate=RateLimit(2, per=10)), dict[Subject, datetime]()
    before = NOON - timedelta(hours=1)
    assert count(NOON, rate, buckets) == 2

    assert at(before, buckets).opens_at(waiting(1, key="ann", limits=rate)) == before
    started = [count(before + timedelta(seconds=seconds), rate, buckets) for seconds in (0, 4, 5, 10)]

    assert started == [0, 0, 1, 1]


def test_a_lower_rate_holds_at_once() -> None:
    buckets = dict[Subject, datetime]()
    count(NOON, Limits(rate=RateLimit(1, per=3600)), buckets)

    assert count(NOON, Limits(rate=RateLimit(1, per=10)), buckets) == 0
    assert count(NOON + timedelta(seconds=10), Limits(rate=RateLimit(1, per=10)), buckets) == 1


def test_the_tightest_limit_decides_the_room() -> None:
    both = Limits(concurrency=5, rate=RateLimit(3))

    assert at(NOON, running=1).room(waiting(1, key="ann", limits=both), 10) == 3
    assert at(NOON, running=4).room(waiting(1, key="ann", limits=both), 10) == 1
    assert at(NOON, running=9).room(waiting(1, key="ann", limits=both), 10) == 0
    assert at(NOON).room(waiting(1), 10) == 10
