"""Hands what has ended in this process to a store that keeps rollups, every few seconds and at the end."""

import asyncio
from typing import Final

from lq_core.foundation.errors import QueueError
from lq_core.foundation.event_log import event_log
from lq_core.queue import BaseQueueBackend, Rollups
from lq_core.queue.rollups import KEPT, Tally
from lq_core.records.record import QueuedTaskRecord

log = event_log()

INTERVAL: Final = 10.0
"""Seconds from the first record that is counted until the store gets the numbers."""


class RollupRecorder:
    """Counts records for one service; with a store that keeps no rollups, it does nothing."""

    def __init__(self, backend: BaseQueueBackend) -> None:
        self._backend = backend
        self._tally = Tally() if isinstance(backend, Rollups) else None
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None

    def note(self, record: QueuedTaskRecord) -> None:
        """Count a stored record if it has ended."""
        if self._tally is None or record.finished_at is None:
            return
        self._tally.add(record, finished_at=record.finished_at)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._flush_soon)

    async def flush(self) -> None:
        """Store what was counted; whoever is cancelled meanwhile only stops waiting."""
        while (flushing := self._flushing) is not None and not flushing.done():
            await asyncio.wait([flushing])
        self._flushing = asyncio.create_task(self._store())
        await asyncio.wait([self._flushing])

    async def close(self) -> None:
        """Store the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.flush()

    def _flush_soon(self) -> None:
        self._timer = None
        self._flushing = asyncio.create_task(self._store())

    async def _store(self) -> None:
        rollups = self._tally.take() if self._tally is not None else []
        if not rollups or not isinstance(self._backend, Rollups):
            return
        try:
            await self._backend.add_rollups(rollups, oldest=self._backend.now() - KEPT)
        except QueueError as error:  # They are dropped, because they are only for charts.
            log.warning("rollups.not_stored", extra={"error": str(error)})
