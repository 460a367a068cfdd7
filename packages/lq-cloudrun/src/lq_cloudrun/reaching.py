"""Reaching the queue: with direct VPC egress, the first connection of a container may take more than a minute."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from lq_core.errors import ConfigurationError, SchemaError, StorageError
from lq_core.event_log import event_log
from lq_core.queue import BaseQueueBackend
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.service import QueueService

Answer = TypeVar("Answer")

log = event_log("lq.cloudrun")

PAUSES: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries to connect; the last one repeats."""


async def reach(step: Callable[[], Awaitable[Answer]], *, seconds: float) -> Answer:
    """Try a step again until the queue answers; raises the StorageError or OSError of the last try."""
    until, tries = time.monotonic() + seconds, 0
    while True:
        try:
            return await step()
        except (StorageError, OSError) as error:
            if isinstance(error, SchemaError) or time.monotonic() >= until:
                raise
            log.warning("cloudrun.connecting", extra={"reason": str(error)})
            await asyncio.sleep(min(PAUSES[min(tries, len(PAUSES) - 1)], max(0.0, until - time.monotonic())))
            tries += 1


def refuse_memory(queue: BaseQueueBackend) -> None:
    """Raise ConfigurationError for a queue that no other process can reach."""
    if isinstance(queue, InMemoryQueueBackend):
        raise ConfigurationError(
            "The queue keeps its records in the memory of one process, which containers of Cloud Run cannot reach: "
            "choose lq-postgres, or a SQLiteConfig where containers share its file, as with the emulator."
        )


async def open_where_it_is(service: QueueService) -> None:
    """Open a service, but make no new queue: whoever sent the record has one. Raises StorageError."""
    path: object = getattr(service.queue_backend, "path", None)
    if isinstance(path, Path) and not path.exists():
        raise StorageError(
            f"There is no queue at {service.queue_backend.address}, and one made here would be empty. Does the "
            "configuration read the address of the queue from a variable that is not set?"
        )
    await service.open()
