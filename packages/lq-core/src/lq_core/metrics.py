"""How many attempts ended how, and how long they took: a middleware, and a value to read."""

import time
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lq_core.context import TaskContext
from lq_core.middleware import Proceed
from lq_core.outcome import Outcome, outcome_of
from lq_core.record import QueuedTaskRecord

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""The upper bounds of the buckets, in seconds; a last bucket holds what took longer."""


class Measure(Struct, frozen=True, kw_only=True):
    """The attempts at one task that ended in one way."""

    count: int = 0
    seconds: float = 0.0
    """How long they took together, from the start to the recorded outcome."""

    longest: float = 0.0
    """Seconds that the longest of them took."""

    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """How many took at most as long as each of ``BOUNDS`` and longer than the one before; the last, longer than all."""


class Metrics:
    """
    Counts attempts and their durations by task and outcome: ``QueueConfig(middleware=(metrics,))``.

    It knows no exporter; :meth:`snapshot` is what one reads, from any thread.
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
        """Return what was measured so far, by task name and outcome; it does not change any more."""
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
