"""Doing the same to many records: page by page, each by compare-and-set, so that what has moved on is left alone."""

import asyncio
from collections.abc import Iterable
from typing import Final, Protocol
from uuid import UUID

from msgspec.structs import replace

from lq_core import lifecycle
from lq_core.errors import RecordNotFoundError
from lq_core.execution import ExecutionService
from lq_core.queue import RecordFilter
from lq_core.record import TERMINAL, QueuedTaskRecord, TaskStatus

PAGE: Final = 200

CANCELLABLE: Final = tuple(status for status in TaskStatus if status not in TERMINAL)
RETRYABLE: Final = tuple(status for status in TERMINAL if lifecycle.MOVES[status])


class Changes(ExecutionService, Protocol):
    """What is needed of the service."""

    async def cancel(self, record_id: UUID) -> bool:
        """Cancel a record, in whatever state it is."""
        ...


def narrowed(condition: RecordFilter, statuses: Iterable[TaskStatus]) -> RecordFilter:
    """Leave of a condition only what is in one of these statuses."""
    wanted = tuple(status for status in statuses if condition.statuses is None or status in condition.statuses)
    return replace(condition, statuses=wanted)


async def retry_many(service: Changes, condition: RecordFilter) -> int:
    """Bring back the records that match and may be retried, and say how many came."""
    number = 0
    async for page in service.queue_backend.pages(narrowed(condition, RETRYABLE), limit=PAGE):
        at = service.queue_backend.now()
        swaps = (service.swap(record, lifecycle.retry(record, at=at)) for record in page)
        number += sum(await asyncio.gather(*swaps))
    return number


async def cancel_many(service: Changes, condition: RecordFilter) -> int:
    """Cancel the records that match and have not ended, and say how many were cancelled or asked to stop."""
    number = 0
    async for page in service.queue_backend.pages(narrowed(condition, CANCELLABLE), limit=PAGE):
        number += sum(await asyncio.gather(*(_cancel(service, record) for record in page)))
    return number


async def _cancel(service: Changes, record: QueuedTaskRecord) -> bool:
    if record.status is TaskStatus.PENDING:
        cancelled = lifecycle.cancel(record, at=service.queue_backend.now())
        if await service.swap(record, cancelled):
            return True
    try:
        return await service.cancel(record.id)
    except RecordNotFoundError:
        return False
