"""The records before and after a record in a chain or a group, for the picture on its page."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from lq_core import QueuedTaskRecord, QueueService, RecordFilter, RecordSummary
from lq_web.config import WebConfig

SEARCHED: Final = 200
"""How many of the records that were created next are searched for successors: most are enqueued together."""

SHOWN: Final = 10
"""How many predecessors and how many successors are shown."""


class Neighbours(Struct, frozen=True, kw_only=True):
    """The records that a record comes after, and those that come after it."""

    predecessors: Sequence[RecordSummary]
    more_predecessors: int
    """How many others there are, shown or deleted."""

    successors: Sequence[RecordSummary]
    """Those among the next records."""

    more_successors: int

    @property
    def rows(self) -> int:
        """The number of rows of the picture; 0 without neighbours."""
        return max(len(self.predecessors), len(self.successors))


async def neighbours(service: QueueService, config: WebConfig, record: QueuedTaskRecord) -> Neighbours:
    """Read the neighbours of a record."""
    before = record.after.ids if record.after else ()
    found = await service.queue_backend.get_many(before[:SHOWN])
    later = await service.queue_backend.find(RecordFilter(), limit=SEARCHED, after=record.id)
    after = [one for one in later if one.after and record.id in one.after.ids]
    return Neighbours(
        predecessors=[RecordSummary.of(config.redact(one)) for one in found],
        more_predecessors=len(before) - len(found),
        successors=[RecordSummary.of(config.redact(one)) for one in after[:SHOWN]],
        more_successors=max(0, len(after) - SHOWN),
    )
