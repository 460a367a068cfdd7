"""
Operations on many records: they read page by page, and change each record by compare-and-swap.

A record that another process changes at the same time keeps that change.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import datetime
from time import monotonic
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from lq_core.execution import ExecutionService
from lq_core.foundation.errors import RecordNotFoundError
from lq_core.queue import BaseQueueBackend, QueueState, RecordFilter
from lq_core.records import lifecycle
from lq_core.records.record import TERMINAL, QueuedTaskRecord, TaskStatus

PAGE: Final = 200

CANCELLABLE: Final = tuple(status for status in TaskStatus if status not in TERMINAL)
RETRYABLE: Final = tuple(status for status in TERMINAL if lifecycle.MOVES[status])


def narrowed(condition: RecordFilter, statuses: Iterable[TaskStatus]) -> RecordFilter:
    """Narrow a condition to records with one of these statuses."""
    wanted = tuple(status for status in statuses if condition.statuses is None or status in condition.statuses)
    return replace(condition, statuses=wanted)


async def retry_many(service: ExecutionService, condition: RecordFilter) -> AsyncGenerator[int]:
    """Retry the matching records that can be retried, and yield the number after each page."""
    async for page in service.queue_backend.pages(narrowed(condition, RETRYABLE), limit=PAGE):
        at = service.queue_backend.now()
        swaps = (service.swap(record, lifecycle.retry(record, at=at)) for record in page)
        yield sum(await asyncio.gather(*swaps))


async def cancel_many(
    service: ExecutionService, cancel: Callable[[UUID], Awaitable[bool]], condition: RecordFilter
) -> AsyncGenerator[int]:
    """Cancel the matching records that have not ended, and yield the number after each page; *cancel* cancels one."""

    async def cancel_one(record: QueuedTaskRecord) -> bool:
        if record.status is TaskStatus.PENDING:
            cancelled = lifecycle.cancel(record, at=service.queue_backend.now())
            if await service.swap(record, cancelled):
                return True
        try:
            return await cancel(record.id)
        except RecordNotFoundError:
            return False

    async for page in service.queue_backend.pages(narrowed(condition, CANCELLABLE), limit=PAGE):
        yield sum(await asyncio.gather(*map(cancel_one, page)))


async def delete_many(backend: BaseQueueBackend, condition: RecordFilter) -> AsyncGenerator[int]:
    """Delete the matching records that have ended and hold no key, and yield the number after each page."""
    async for page in backend.pages(narrowed(condition, TERMINAL), limit=PAGE):
        yield await backend.delete_many([record.id for record in page])


async def total(numbers: AsyncGenerator[int]) -> int:
    """Add the numbers of all pages."""
    return sum([number async for number in numbers])


async def drain(backend: BaseQueueBackend, queue: str, *, timeout: float | None, poll_interval: float) -> int:
    """Close a queue for new records, wait until its other records have ended, and return how many have not."""
    moment = backend.now()
    await backend.change_queue(queue, paused=False, draining=moment)
    rest = RecordFilter(queues=(queue,), statuses=CANCELLABLE, created_before=moment)
    until = None if timeout is None else monotonic() + timeout
    while True:
        began = monotonic()
        if not await backend.find(rest, limit=1):
            await _close(backend, queue, moment)
            return 0
        # Slow looks are rare.
        pause = max(poll_interval, 10 * (monotonic() - began))
        if until is not None:
            pause = min(pause, until - monotonic())
            if pause <= 0:
                return await backend.count(rest)
        await asyncio.sleep(pause)


async def _close(backend: BaseQueueBackend, queue: str, moment: datetime) -> None:
    """Pause the queue if it still drains, so that claims do not look through the new records."""
    while True:
        state = (await backend.queues()).get(queue, QueueState())
        if state.draining != moment:
            return
        if await backend.swap_queue(queue, state, replace(state, paused=True, draining=None)):
            return
