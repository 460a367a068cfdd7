"""Draining a queue: what is there is run to its end, and what comes later waits."""

import asyncio
from datetime import datetime
from time import monotonic

from msgspec.structs import replace

from lq_core.queue import BaseQueueBackend, QueueState, RecordFilter
from lq_core.record import TERMINAL, TaskStatus


async def drain(backend: BaseQueueBackend, queue: str, *, timeout: float | None, poll_interval: float) -> int:
    """Close a queue to what comes later, and wait until the rest has ended; tell how much of it has not."""
    moment = backend.now()
    await backend.change_queue(queue, paused=False, draining=moment)
    active = tuple(status for status in TaskStatus if status not in TERMINAL)
    rest = RecordFilter(queues=(queue,), statuses=active, created_before=moment)
    until = None if timeout is None else monotonic() + timeout
    while True:
        began = monotonic()
        if not await backend.find(rest, limit=1):
            await _close(backend, queue, moment)
            return 0
        # Where looking takes long, it is done seldom.
        pause = max(poll_interval, 10 * (monotonic() - began))
        if until is not None:
            pause = min(pause, until - monotonic())
            if pause <= 0:
                return await backend.count(rest)
        await asyncio.sleep(pause)


async def _close(backend: BaseQueueBackend, queue: str, moment: datetime) -> None:
    """Pause the queue, so that no claim looks through what has come meanwhile; unless it drains no more."""
    while True:
        state = (await backend.queues()).get(queue, QueueState())
        if state.draining != moment:
            return
        if await backend.swap_queue(queue, state, replace(state, paused=True, draining=None)):
            return
