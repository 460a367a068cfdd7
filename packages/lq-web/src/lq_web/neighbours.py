"""The records before and after a record in a chain or a group, for the picture on its page."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from lq_core import QueuedTaskRecord, QueueService, RecordFilter, RecordSummary
from lq_core.queue import BaseQueueBackend, Successors
from lq_web.config import WebConfig

SEARCHED: Final = 200
"""
How many successors are read, and how many of the records that were created next are searched for others.

PostgreSQL has an index of the successors that wait, and none of those that have started: an index of all would be
written at the enqueue, the unblocking and the claim of each. Most successors are enqueued together with the record.
"""

SHOWN: Final = 10
"""How many predecessors and how many successors are shown."""


class Neighbours(Struct, frozen=True, kw_only=True):
    """The records that a record comes after, and those that come after it."""

    predecessors: Sequence[RecordSummary]
    more_predecessors: int
    """How many others there are, shown or deleted."""

    successors: Sequence[RecordSummary]
    """All that still wait for it, and those of the others that an index or the next records have; oldest first."""

    more_successors: int

    @property
    def rows(self) -> int:
        """The number of rows of the picture; 0 without neighbours."""
        return max(len(self.predecessors), len(self.successors))


async def neighbours(service: QueueService, config: WebConfig, record: QueuedTaskRecord) -> Neighbours:
    """Read the neighbours of a record."""
    before = record.after.ids if record.after else ()
    found = await service.queue_backend.get_many(before[:SHOWN])
    after = await _successors(service.queue_backend, record)
    return Neighbours(
        predecessors=[RecordSummary.of(config.redact(one)) for one in found],
        more_predecessors=len(before) - len(found),
        successors=[RecordSummary.of(config.redact(one)) for one in after[:SHOWN]],
        more_successors=max(0, len(after) - SHOWN),
    )


async def _successors(queue: BaseQueueBackend, record: QueuedTaskRecord) -> Sequence[QueuedTaskRecord]:
    known = await queue.successors(record.id, limit=SEARCHED) if isinstance(queue, Successors) else ()
    later = await queue.find(RecordFilter(), limit=SEARCHED, after=record.id)
    found = {one.id: one for one in (*known, *later) if one.after and record.id in one.after.ids}
    return sorted(found.values(), key=lambda one: one.id)
