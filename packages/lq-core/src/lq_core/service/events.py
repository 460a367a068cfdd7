"""What happens to records, while it happens: their timelines are read again and again, and what is new is told."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import datetime
from time import monotonic
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from lq_core.errors import RecordNotFoundError
from lq_core.identity import first_id_of
from lq_core.queue import BaseQueueBackend, RecordFilter
from lq_core.record import Progress, QueuedTaskRecord, TaskStatus
from lq_core.timeline import Event, timeline

LOOK_INTERVAL: Final = 0.25
"""Seconds between two looks; progress is not written more often."""

PAGE: Final = 500
OVERLAP: Final = 5.0
"""Seconds by which the ids of different machines may be out of order."""

ACTIVE: Final = (TaskStatus.PENDING, TaskStatus.DISPATCHED, TaskStatus.RUNNING)


async def follow(queue: BaseQueueBackend, ids: Sequence[UUID]) -> AsyncGenerator[Event]:
    """Tell what happens to these records, from their beginning, until all have ended or are deleted."""
    told = Told()
    waiting = list(dict.fromkeys(ids))
    first = {record.id for record in await queue.get_many(waiting)}
    for missing in (one for one in waiting if one not in first):
        raise RecordNotFoundError(missing)
    while waiting:
        found = {record.id: record for record in await queue.get_many(waiting)}
        for record in found.values():
            for event in told.news(record, at=queue.now()):
                yield event
        waiting = [one for one in waiting if one in found and not found[one].has_ended]
        if waiting:
            await asyncio.sleep(LOOK_INTERVAL)


async def follow_all(queue: BaseQueueBackend, condition: RecordFilter) -> AsyncGenerator[Event]:
    """
    Tell what happens from now on to the records that match, and to those that are enqueued from now on; endlessly.

    Of what waits or runs under an old id, the newest 500 are followed: a record whose id is older than a few seconds
    when it is stored, or that is retried by hand, is missed when there are more, or when it has ended by the next look.
    """
    told, followed = Told(), set[UUID]()
    condition, active = replace(condition, statuses=None), replace(condition, statuses=ACTIVE)
    began, look_at = queue.now(), monotonic()
    while True:
        after = first_id_of(max(began.timestamp(), queue.now().timestamp() - OVERLAP))
        while page := await queue.find(condition, limit=PAGE, after=after):
            followed.update(record.id for record in page if record.id not in told.ended)
            after = page[-1].id
        if (looked_at := monotonic()) >= look_at:
            for record in await queue.find(active, limit=PAGE):
                if record.id not in followed:
                    told.skip(record, before=began)
                    followed.add(record.id)
            # Where no index leads to what is active, this walks past all records: for a tenth of the time at most.
            look_at = monotonic() + 10 * (monotonic() - looked_at)
        for record in sorted(await queue.get_many(list(followed)), key=lambda record: record.id.int):
            for event in told.news(record, at=queue.now()):
                yield event
        followed -= told.ended.keys()
        told.forget(before=first_id_of(queue.now().timestamp() - 2 * OVERLAP))
        await asyncio.sleep(LOOK_INTERVAL)


class Told:
    """Which events have been told already, by record."""

    def __init__(self) -> None:
        self._told: dict[UUID, frozenset[object]] = {}
        self._progress: dict[UUID, Progress] = {}
        self.ended: dict[UUID, None] = {}
        """The records that have ended."""

    def news(self, record: QueuedTaskRecord, *, at: datetime) -> Iterator[Event]:
        """Tell what has not been told of a record."""
        told, events = self._told.get(record.id, frozenset()), timeline(record)
        yield from (event for event in events if event.key not in told)
        if record.progress is not None and self._progress.get(record.id) != record.progress:
            self._progress[record.id] = record.progress
            yield Event(
                record_id=record.id,
                task_name=record.task_name,
                event="progress",
                at=at,
                attempt=record.attempt,
                worker_id=record.worker_id,
                progress=record.progress,
            )
        self._told[record.id] = frozenset(event.key for event in events)
        if record.has_ended:
            self.ended[record.id] = None
            self._told.pop(record.id)
            self._progress.pop(record.id, None)

    def skip(self, record: QueuedTaskRecord, *, before: datetime) -> None:
        """Tell nothing of what has happened to a record before a moment, or before it was last brought back."""
        since = max([before, *(entry.at for entry in record.history if entry.event == "revived")])
        self._told[record.id] = frozenset(event.key for event in timeline(record) if event.at < since)
        self.ended.pop(record.id, None)

    def forget(self, *, before: UUID) -> None:
        """Let go of the records that ended and will not be met again."""
        for one in [one for one in self.ended if one < before]:
            del self.ended[one]
