"""Watches running attempts: stops cancelled ones, and logs those that do not stop."""

import asyncio
from collections.abc import Mapping
from typing import Final

from lq_core.attempts.attempt import Attempt, StopReason
from lq_core.foundation.event_log import event_log
from lq_core.queue import BaseQueueBackend
from lq_core.records.record import Fence

log = event_log()

INTERVAL: Final = 0.5
"""Seconds between two looks for cancelled running records."""

DOUBLINGS: Final = 4
"""How often the interval doubles while the looks fail: 8 seconds at most."""

OVERSTAYED: Final = 5.0
"""Seconds after which the log names a task that does not stop on request."""


class Watch:
    """Watches the attempts of one presence; *attempts* are the running ones."""

    def __init__(self, backend: BaseQueueBackend, attempts: Mapping[Fence, Attempt]) -> None:
        self._backend = backend
        self._attempts = attempts

    async def look(self) -> None:
        """Stop the attempts whose records were cancelled."""
        if not self._attempts:
            return
        for attempt in [each for each in self._attempts.values() if each.overstays(OVERSTAYED)]:
            facts = {"task_name": attempt.record.task_name, "record_id": str(attempt.record.id)}
            log.warning("task.does_not_stop", extra={**facts, "asked": attempt.stop_reason, "seconds": OVERSTAYED})
        for record in await self._backend.cancel_requests():
            attempt = self._attempts.get((record.id, record.epoch))
            if attempt is not None:
                attempt.stop(StopReason.CANCELLED)

    async def wait(self, failures: int) -> None:
        """Wait for the next look."""
        await asyncio.sleep(INTERVAL * 2 ** min(failures, DOUBLINGS))
