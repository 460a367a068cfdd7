"""Counting records: over a large table it takes a while, and so is not done again and again."""

from datetime import datetime
from time import monotonic
from typing import Final

from lq_core.queue import RecordFilter, Statistics
from lq_core.record import TaskStatus
from lq_postgres.insertion import Fetch
from lq_postgres.pages import conditions
from lq_postgres.statements import reading

LARGE: Final = 10_000
"""So many records are counted within milliseconds: such a count is never kept."""

SLOW: Final = 0.05
"""A count that took this many seconds is not repeated at once."""


class Counting:
    """Counts by *read_whole*, which runs a statement that may read the whole table."""

    def __init__(self, read_whole: Fetch) -> None:
        self._read_whole = read_whole
        self._counted: tuple[float, Statistics] = (0.0, Statistics(counts={}))

    async def count(self, condition: RecordFilter) -> int:
        """Count the records that match."""
        [[number]] = await self._read_whole(reading.COUNT, *conditions(condition))
        return number

    async def statistics(self, *, at: datetime | None) -> Statistics:
        """Count the records by queue and status; of many, the answer may be as old as ten such counts take."""
        until, counted = self._counted
        if monotonic() < until:
            return counted
        began = monotonic()
        rows = await self._read_whole(reading.STATISTICS, at)
        took = monotonic() - began
        counts: dict[str, dict[TaskStatus, int]] = {}
        for queue, status, number, _ in rows:
            counts.setdefault(queue, {})[TaskStatus(status)] = number
        counted = Statistics(
            counts=counts, oldest_due=min((row[3] for row in rows if row[3] is not None), default=None)
        )
        is_kept = took > SLOW and sum(sum(by_status.values()) for by_status in counts.values()) > LARGE
        self._counted = (began + 10 * took if is_kept else 0.0, counted)
        return counted
