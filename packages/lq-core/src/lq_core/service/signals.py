"""Sends signals to records: a compare-and-swap while nobody runs the record."""

import asyncio
from time import monotonic
from typing import Final
from uuid import UUID

from lq_core.execution import ExecutionService
from lq_core.foundation.errors import RecordNotFoundError, SignalNotStoredError
from lq_core.records import steps
from lq_core.records.record import TaskStatus
from lq_core.tasks.signals import check_signal, encode_signal

FIRST_PAUSE: Final = 0.01
"""Seconds to the next look at a record that runs; each pause is twice as long as the last, up to the poll interval."""


def not_taken(record_id: UUID, name: str) -> str:
    """Say to a person why ``QueueService.signal`` has returned False."""
    return (
        f"Record {record_id} takes no signal {name!r}: it has ended, has a signal of this name, or has stopped waiting "
        "for it."
    )


async def send(service: ExecutionService, record_id: UUID, name: str, value: object, *, timeout: float | None) -> bool:
    """Store a signal, as ``QueueService.signal`` says."""
    check_signal(name, timeout)
    encoded, backend, pause = encode_signal(name, value), service.queue_backend, FIRST_PAUSE
    until = None if timeout is None else monotonic() + timeout
    while True:
        record = await backend.get(record_id)
        if record is None:
            raise RecordNotFoundError(record_id)
        if not steps.takes(record, name):
            return False
        if record.status is TaskStatus.PENDING:
            most_bytes = service.config.max_payload_bytes
            given = steps.give(record, name, encoded, at=backend.now(), most_bytes=most_bytes)
            if await service.swap(record, given):
                return True
        elif until is not None and monotonic() >= until:
            raise SignalNotStoredError(record_id, name, record.status, timeout or 0.0)
        else:  # Its owner writes the whole history, so nobody else can add to it now.
            await asyncio.sleep(pause)
            pause = min(2 * pause, service.config.poll_interval)
