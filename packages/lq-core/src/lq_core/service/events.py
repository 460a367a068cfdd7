"""Follows the events of records: it reads their timelines again and again, and yields the new events."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from lq_core.foundation.errors import RecordNotFoundError
from lq_core.queue import BaseQueueBackend, RecordFilter
from lq_core.records.identity import first_id_of
from lq_core.records.record import Progress, QueuedTaskRecord, TaskStatus
from lq_core.records.timeline import Event, timeline

LOOK_INTERVAL: Final = 0.25
"""Seconds between two looks; workers do not write progress more often."""

PAGE: Final = 500
OVERLAP: Final = 5.0
"""Seconds by which the ids of different machines can be out of order."""

ID_RESOLUTION: Final = timedelta(milliseconds=1)

ACTIVE: Final = (TaskStatus.PENDING, TaskStatus.DISPATCHED, TaskStatus.RUNNING)


async def follow(queue: BaseQueueBackend, ids: Sequence[UUID]) -> AsyncGenerator[Event]:
    """Yield all events of these records until all have ended or are deleted."""
    seen = Yielded()
    waiting = list(dict.fromkeys(ids))
    first = {record.id for record in await queue.get_many(waiting)}
    for missing in (one for one in waiting if one not in first):
        raise RecordNotFoundError(missing)
    while waiting:
        found = {record.id: record for record in await queue.get_many(waiting)}
        for record in found.values():
            for event in seen.news(record, at=queue.now()):
                yield event
        waiting = [one for one in waiting if one in found and not found[one].has_ended]
        if waiting:
            await asyncio.sleep(LOOK_INTERVAL)


async def follow_all(queue: BaseQueueBackend, condition: RecordFilter) -> AsyncGenerator[Event]:
    """
    Yield the new events of the matching records, endlessly.

    It follows all new ids, and the newest 500 of the older records that wait or run. It can therefore miss a record
    that is retried by hand, or whose id is some seconds old when it is stored: if there are more than 500, or if the
    record ends before the next look.
    """
    stream = _Stream(queue, condition)
    while True:
        async for event in stream.of_followed():
            yield event
        async for event in stream.of_new():
            yield event
        await stream.follow_active()
        await asyncio.sleep(LOOK_INTERVAL)


class _Stream:
    """The records that :func:`follow_all` follows; it reads them page by page, however slow its consumer is."""

    def __init__(self, queue: BaseQueueBackend, condition: RecordFilter) -> None:
        self._queue = queue
        self._condition = replace(condition, statuses=None)
        self._active = replace(condition, statuses=ACTIVE)
        self._seen = Yielded()
        self._followed = set[UUID]()
        self._began = self._looked_at = queue.now()
        self._active_look_at = monotonic()

    async def of_followed(self) -> AsyncGenerator[Event]:
        """Yield the new events of the followed records."""
        ids = sorted(self._followed)
        for start in range(0, len(ids), PAGE):
            found = await self._queue.get_many(ids[start : start + PAGE])
            self._followed.difference_update(ids[start : start + PAGE])
            for event in self._news(sorted(found, key=lambda record: record.id.int)):
                yield event

    async def of_new(self) -> AsyncGenerator[Event]:
        """Yield the events of the records whose ids are newer than the last look, and follow them."""
        # The last look may be long ago, because the consumer paused.
        since = min(self._looked_at, self._queue.now()).timestamp() - OVERLAP
        self._looked_at = self._queue.now()
        remembered = first_id_of(self._looked_at.timestamp() - 2 * OVERLAP)
        cursor = first_id_of(max(self._began.timestamp(), since))
        while page := await self._queue.find(self._condition, limit=PAGE, after=cursor):
            for record in page:
                # An id tells only the millisecond, and the record may be older than the stream within it.
                is_before = timedelta(0) < self._began - record.created_at <= ID_RESOLUTION
                if is_before and not self._seen.knows(record):
                    self._seen.skip(record, before=self._began)
            ended, followed = self._seen.ended, self._followed
            for event in self._news([one for one in page if one.id not in ended and one.id not in followed]):
                yield event
            cursor = page[-1].id
            self._seen.forget(before=min(cursor, remembered))

    async def follow_active(self) -> None:
        """Follow the newest of the older records that wait or run."""
        if (looked_at := monotonic()) < self._active_look_at:
            return
        for record in await self._queue.find(self._active, limit=PAGE):
            if record.id not in self._followed:
                self._seen.skip(record, before=self._began)
                self._followed.add(record.id)
        # Without an index of active records, this reads all records: limit it to a tenth of the time.
        self._active_look_at = monotonic() + 10 * (monotonic() - looked_at)

    def _news(self, records: Iterable[QueuedTaskRecord]) -> Iterator[Event]:
        for record in records:
            yield from self._seen.news(record, at=self._queue.now())
            if not record.has_ended:
                self._followed.add(record.id)


class Yielded:
    """The events that were already yielded, by record."""

    def __init__(self) -> None:
        self._events: dict[UUID, frozenset[object]] = {}
        self._progress: dict[UUID, Progress] = {}
        self.ended: dict[UUID, None] = {}
        """The records that have ended."""

    def news(self, record: QueuedTaskRecord, *, at: datetime) -> Iterator[Event]:
        """Yield the new events of a record."""
        seen, events = self._events.get(record.id, frozenset()), timeline(record)
        news = [event for event in events if event.key not in seen]
        if record.progress is not None and self._progress.get(record.id) != record.progress:
            self._progress[record.id] = record.progress
            progress = Event(
                record_id=record.id,
                task_name=record.task_name,
                event="progress",
                at=at,
                attempt=record.attempt,
                worker_id=record.worker_id,
                progress=record.progress,
            )
            if record.status is TaskStatus.RUNNING:
                news.append(progress)
            elif news:
                # The report came before the end of the attempt, which is the last event.
                news.insert(-1, replace(progress, at=news[-1].at))
        yield from news
        self._events[record.id] = frozenset(event.key for event in events)
        if record.has_ended:
            self.ended[record.id] = None
            self._events.pop(record.id)
            self._progress.pop(record.id, None)

    def knows(self, record: QueuedTaskRecord) -> bool:
        """Whether events of a record were yielded or skipped."""
        return record.id in self._events

    def skip(self, record: QueuedTaskRecord, *, before: datetime) -> None:
        """Skip the events of a record before a moment, or before its last retry by hand."""
        since = max([before, *(entry.at for entry in record.history if entry.event == "retried_by_hand")])
        self._events[record.id] = frozenset(event.key for event in timeline(record) if event.at < since)
        self.ended.pop(record.id, None)

    def forget(self, *, before: UUID) -> None:
        """Forget the ended records that no look will read again."""
        for one in [one for one in self.ended if one < before]:
            del self.ended[one]
