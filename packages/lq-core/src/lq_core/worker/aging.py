"""The sweep that raises the priority of records that wait for long, if the application asks for it."""

from collections.abc import Collection
from datetime import timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from lq_core.foundation.event_log import event_log
from lq_core.queue import RecordFilter, Swap
from lq_core.records.record import TaskStatus
from lq_core.records.waiting import aged
from lq_core.service import QueueService

log = event_log()

PAGE: Final = 500
FIRST: Final = UUID(int=0)
SHORTEST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 60.0
"""Seconds between two rounds over all pending records: a tenth of ``priority_aging``, within these."""


class Aging:
    """Looks at the pending records of some execution backends, page by page, oldest first, again and again."""

    def __init__(self, service: QueueService, *, execution_backends: Collection[str], aging: float) -> None:
        self._queue = service.queue_backend
        self._condition = RecordFilter(
            statuses=(TaskStatus.PENDING,),
            queues=service.config.queues,
            execution_backends=tuple(sorted(execution_backends)),
        )
        self._step = max(timedelta.resolution, timedelta(seconds=aging))
        self._pause = min(max(aging / 10, SHORTEST_PAUSE), LONGEST_PAUSE)
        self._after = FIRST

    async def step(self) -> float:
        """Age the records of the next page, and return the seconds until the one after it."""
        began = monotonic()
        page = await self._queue.find(self._condition, limit=PAGE, after=self._after)
        at = self._queue.now()
        changes = ((record, aged(record, step=self._step, at=at)) for record in page)
        swaps = [Swap(record=after, epoch=record.epoch) for record, after in changes if after is not None]
        if swaps:
            kept = await self._queue.amend_many(swaps)
            log.debug("record.aged", extra={"records": sum(kept)})
        is_last = len(page) < PAGE
        self._after = FIRST if is_last else page[-1].id
        # A look at a long backlog is slow: limit it to a tenth of the time.
        return max(10 * (monotonic() - began), self._pause if is_last else 0.0)
