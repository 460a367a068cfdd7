"""Changes of many records: count what a filter selects now, then change exactly those records."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from lq_core import IllegalMoveError, QueuedTaskRecord, QueueService, RecordFilter, RecordNotFoundError
from lq_core.records.record import TERMINAL
from lq_core.service.bulk import CANCELLABLE, RETRYABLE, narrowed

Action: TypeAlias = Literal["retry", "cancel", "delete"]

MOST: Final = 10_000
"""How many records one request may change."""

PAGE: Final = 200


class Selection(Struct, frozen=True, kw_only=True):
    """Records that one action is about: a filter, as it was at one moment."""

    action: Action
    condition: RecordFilter
    error: str | None = None
    """Only records whose last failure has this type."""

    as_of: datetime
    """Records that have changed their status after this moment are left alone."""


class Preview(Struct, frozen=True, kw_only=True):
    """How many records an action would change. Act with the same *as_of* to change exactly these."""

    count: int
    as_of: datetime
    is_limited: bool
    """Whether more records match than one request may change."""


async def preview(service: QueueService, selection: Selection) -> Preview:
    """Count the selected records, and change nothing."""
    count = 0
    async for page in _pages(service, selection):
        count += len(page)
    return Preview(count=min(count, MOST), as_of=selection.as_of, is_limited=count >= MOST)


async def act(service: QueueService, selection: Selection) -> int:
    """Change the selected records, and return how many were changed. What has changed meanwhile stays as it is."""
    changed = looked_at = 0
    async for page in _pages(service, selection):
        wanted = page[: MOST - looked_at]
        looked_at += len(wanted)
        if selection.action == "delete":
            changed += await service.queue_backend.delete_many([record.id for record in wanted])
        else:
            changed += sum(await asyncio.gather(*(_change(service, selection.action, each) for each in wanted)))
    return changed


async def _pages(service: QueueService, selection: Selection) -> AsyncGenerator[Sequence[QueuedTaskRecord]]:
    statuses = {"retry": RETRYABLE, "cancel": CANCELLABLE, "delete": tuple(TERMINAL)}[selection.action]
    looked_at = 0
    async for page in service.queue_backend.pages(narrowed(selection.condition, statuses), limit=PAGE):
        selected = [record for record in page if _is_selected(record, selection)]
        if selected:
            yield selected
        looked_at += len(selected)
        if looked_at >= MOST:
            return


def _is_selected(record: QueuedTaskRecord, selection: Selection) -> bool:
    if selection.error is not None and (record.error is None or record.error.type != selection.error):
        return False
    return (record.finished_at or record.created_at) <= selection.as_of


async def _change(service: QueueService, action: Action, record: QueuedTaskRecord) -> bool:
    try:
        if action == "cancel":
            return await service.cancel(record.id)
        await service.retry(record.id)
    except (RecordNotFoundError, IllegalMoveError):
        return False
    return True
