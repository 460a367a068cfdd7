"""Deleting records after their retention, without an index, because each ended record would pay for it."""

from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from lq_core.records.identity import first_id_of
from lq_core.records.record import TaskStatus
from lq_postgres.connection.driver import Fetch
from lq_postgres.statements import upkeep

WHOLE_WALK: Final = 3600.0
"""Seconds between two walks over the whole table, for ids that do not contain their time."""

MARGIN: Final = timedelta(hours=1)
"""How far the clock that made an id may have been ahead."""

_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)


class Retention:
    """Walks the records in the order of their ids up to the moment of deletion, and once an hour to the end."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._walked: dict[TaskStatus, float] = {}
        self._passed: dict[TaskStatus, UUID] = {}
        """The last deleted record of each walk, so that the next portion does not pass over the others again."""

    async def delete(self, *, status: TaskStatus, before: datetime, limit: int, at: datetime | None) -> int:
        """Delete at most *limit* records, and count them; *at* is now, or None for the clock of the database."""
        whole = self._walked.get(status, float("-inf")) + WHOLE_WALK < monotonic()
        bound = _LAST if whole else first_id_of((before + MARGIN).timestamp())
        deleted = 0
        # A walk that went on from a bookmark is followed by one from the front.
        for after in dict.fromkeys((self._passed.pop(status, _FIRST), _FIRST)):
            given = (status.value, before, limit - deleted, bound, at, after)
            rows = await self._fetch(upkeep.DELETE_ENDED, *given)
            deleted += len(rows)
            if rows and deleted == limit:
                self._passed[status] = max(row[0] for row in rows)
                return deleted
        if whole:
            self._walked[status] = monotonic()
        return deleted
