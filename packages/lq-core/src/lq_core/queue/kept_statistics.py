"""Statistics that are not counted again while a slow count is still fresh, so that many looks do not slow a store."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from msgspec.structs import replace

from lq_core.queue.messages import Statistics

LARGE: Final = 10_000
"""A count of fewer records takes milliseconds, and is always made anew."""

SLOW: Final = 0.02
"""A count that takes fewer seconds is always made anew."""

TIMES: Final = 10
"""A slow count is kept for this many times as long as it took, so that counting takes a tenth of the time at most."""


class KeptStatistics:
    """The last statistics of one store."""

    def __init__(self, *, elapsed: Callable[[], float] = monotonic) -> None:
        self._elapsed = elapsed
        self._kept_until = self._counted_at = elapsed()
        self._kept = Statistics(counts={})

    async def read(self, count: Callable[[], Awaitable[Statistics]]) -> Statistics:
        """Return the kept statistics, with their age, or those that *count* makes."""
        began = self._elapsed()
        if began < self._kept_until:
            return replace(self._kept, age=began - self._counted_at)
        self._kept, self._counted_at = await count(), began
        took = self._elapsed() - began
        if took > SLOW and sum(sum(one.values()) for one in self._kept.counts.values()) > LARGE:
            self._kept_until = began + TIMES * took
        return self._kept
