"""Slow statistics are kept for a while, quick ones and those of few records never."""

from collections.abc import Awaitable, Callable

import pytest

from lq_core import Statistics, TaskStatus
from lq_core.queue.kept_statistics import LARGE, KeptStatistics


class Watch:
    """A clock that moves only when something takes time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def counting(watch: Watch, *, records: int, takes: float) -> Callable[[], Awaitable[Statistics]]:
    numbers = iter(range(records, records + 10))

    async def count() -> Statistics:
        watch.now += takes
        return Statistics(counts={"mail": {TaskStatus.COMPLETED: next(numbers)}})

    return count


@pytest.mark.parametrize(
    "records, takes, after, totals, age",
    [
        pytest.param(LARGE + 1, 0.1, 0.8, [0, 0], 0.9, id="slow"),
        pytest.param(LARGE + 1, 0.1, 0.91, [0, 1], 0.0, id="slow, later"),
        pytest.param(LARGE + 1, 0.01, 0.01, [0, 1], 0.0, id="quick"),
        pytest.param(LARGE - 10, 0.1, 0.01, [0, 1], 0.0, id="few"),
    ],
)
async def test_a_slow_count_is_kept_for_ten_times_as_long_as_it_took(
    records: int, takes: float, after: float, totals: list[int], age: float
) -> None:
    watch = Watch()
    statistics = KeptStatistics(elapsed=watch)
    count = counting(watch, records=records, takes=takes)

    first = await statistics.read(count)
    watch.now += after
    second = await statistics.read(count)

    assert [one.total(TaskStatus.COMPLETED) - records for one in (first, second)] == totals
    assert (first.age, second.age) == (0.0, pytest.approx(age))
