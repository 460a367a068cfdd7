"""Looks for the records that brief claims leave out, beside these claims, because it takes long."""

import asyncio
from collections.abc import Callable

from lq_core.foundation.errors import StorageError
from lq_core.queue import Claim
from lq_postgres.claims.bookmarks import LONGEST_FRONT_INTERVAL, Bookmarks
from lq_postgres.connection.clock import DatabaseClock
from lq_postgres.connection.connections import Connections
from lq_postgres.statements import due_records


class LeftOut:
    """Lets the next claim begin at the front when there is a record that *bookmarks* leave out, and calls *wake*."""

    def __init__(
        self, connections: Connections, clock: DatabaseClock, bookmarks: Bookmarks, wake: Callable[[], None]
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._bookmarks = bookmarks
        self._wake = wake
        self._looks = set[asyncio.Task[None]]()

    def look(self, claim: Claim) -> None:
        """Begin to look if that is due."""
        ranges = self._bookmarks.left_out(claim)
        if ranges is not None:
            look = asyncio.create_task(self._look(claim, ranges), name="lq.postgres.left_out")
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def close(self) -> None:
        """Look no longer."""
        for look in self._looks:
            _ = look.cancel()
        if self._looks:
            _ = await asyncio.wait(self._looks)

    async def _look(self, claim: Claim, ranges: str) -> None:
        found, took = False, LONGEST_FRONT_INTERVAL  # If it fails, try again later.
        try:
            [[found, took]] = await self._connections.fetch(due_records.LEFT_OUT, ranges, self._clock.at())
        except StorageError:
            pass
        finally:
            self._bookmarks.looked(claim, found=found, took=took)
        if found:
            self._wake()
