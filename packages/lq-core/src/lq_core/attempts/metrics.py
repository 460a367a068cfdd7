"""A middleware that counts attempts and their durations."""

import time
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lq_core.records.outcome import Outcome, outcome_of
from lq_core.records.record import QueuedTaskRecord
from lq_core.tasks.context import TaskContext
from lq_core.tasks.middleware import Proceed

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""The upper bounds of the buckets, in seconds; a last bucket holds what took longer."""


class Measure(Struct, frozen=True, kw_only=True):
    """The attempts at one task that had the same outcome."""

    count: int = 0
    seconds: float = 0.0
    """The sum of their durations, from the start to the recorded outcome."""

    longest: float = 0.0
    """The longest duration in seconds."""

    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """How many fall into each bucket of ``BOUNDS``; the last counts those that took longer than all bounds."""


class Metrics:
    """
    Counts attempts and their durations by task and outcome: ``QueueConfig(middleware=(metrics,))``.

    An exporter reads :meth:`snapshot`, from any thread.
    """

    def __init__(self) -> None:
        self._measures: dict[tuple[str, Outcome], Measure] = {}

    async def __call__(self, context: TaskContext, proceed: Proceed, /) -> QueuedTaskRecord:
        """Measure one attempt."""
        began = time.perf_counter()
        record = await proceed()
        self._add(context.record.task_name, outcome_of(context.record, record), time.perf_counter() - began)
        return record

    def snapshot(self) -> Mapping[tuple[str, Outcome], Measure]:
        """Return a copy of the measures, by task name and outcome."""
        return dict(self._measures)

    def __repr__(self) -> str:
        return f"<Metrics {sum(measure.count for measure in self._measures.values())} attempts>"

    def _add(self, task_name: str, outcome: Outcome, seconds: float) -> None:
        before = self._measures.get((task_name, outcome)) or Measure()
        place = bisect_left(BOUNDS, seconds)
        buckets = (*before.buckets[:place], before.buckets[place] + 1, *before.buckets[place + 1 :])
        self._measures[task_name, outcome] = replace(
            before,
            count=before.count + 1,
            seconds=before.seconds + seconds,
            longest=max(before.longest, seconds),
            buckets=buckets,
        )
