"""Running records of dead workers, and the rows of these workers."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from lq_core.records.record import QueuedTaskRecord
from lq_postgres.connection.connections import Connections
from lq_postgres.connection.session import WHOLE
from lq_postgres.statements import upkeep
from lq_postgres.storage.rows import records_from

_FIRST: Final = UUID(int=0)


class DeadWorkers:
    """
    Finds the records of dead workers.

    The search has no index, because an index by worker would slow down every claim. Each page therefore begins where
    the last one ended, so that all pages together read the table once.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._after = _FIRST

    async def orphans(self, *, at: datetime | None, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        """Declare workers dead after *timeout* seconds without a heartbeat, and read a page of their records."""
        _ = await self._connections.fetch(upkeep.DECLARE_DEAD, at, timeout)
        dead = [row[0] for row in await self._connections.fetch(upkeep.DEAD)]
        if not dead:
            self._after = _FIRST
            return []
        after, self._after = self._after, _FIRST
        found = await self._page(dead, after, limit)
        if not found and after != _FIRST:
            found = await self._page(dead, _FIRST, limit)
        if not found:
            await self._forget(dead)
        elif len(found) == limit:
            self._after = found[-1].id
        return found

    async def _page(self, dead: Sequence[str], after: UUID, limit: int) -> Sequence[QueuedTaskRecord]:
        return records_from(await self._connections.read_whole(upkeep.ORPHANS, dead, after, limit))

    async def _forget(self, dead: Sequence[str]) -> None:
        async with self._connections.transaction(times=WHOLE) as fetch:
            held = [row[0] for row in await fetch(upkeep.HOLD_DEAD, dead)]
            _ = await fetch(upkeep.FORGET, held)


async def know(connections: Connections, workers: Iterable[str | None]) -> None:
    """Give each of these workers a row, so that its records can become orphans."""
    names = [name for name in workers if name is not None]
    if names:
        _ = await connections.fetch(upkeep.KNOW, names)
