"""Deleting what has been kept long enough, without an index that every ended record would have to pay for."""

from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from lq_core.identity import first_id_of
from lq_core.record import TaskStatus
from lq_postgres.insertion import Fetch
from lq_postgres.statements import upkeep

WHOLE_WALK: Final = 3600.0
"""Seconds between two walks over the whole table, for ids that do not tell their time."""

MARGIN: Final = timedelta(hours=1)
"""By how much the clock that made an id may have been ahead."""

_LAST: Final = UUID(int=2**128 - 1)


class Retention:
    """
    Walks the records in the order of their ids, which is that of their creation.

    What ended before a moment was created before it: so the walk ends there, except once an hour.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._walked: dict[TaskStatus, float] = {}

    async def delete(self, *, status: TaskStatus, before: datetime, limit: int, at: datetime | None) -> int:
        """Delete at most *limit* records, and say how many; *at* is the moment, None for the database's own."""
        whole = self._walked.get(status, float("-inf")) + WHOLE_WALK < monotonic()
        bound = _LAST if whole else first_id_of((before + MARGIN).timestamp())
        deleted = len(await self._fetch(upkeep.DELETE_ENDED, status.value, before, limit, bound, at))
        if whole and deleted < limit:
            self._walked[status] = monotonic()
        return deleted
