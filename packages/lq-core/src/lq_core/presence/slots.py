"""The executions of records, and the slots of a worker that they use."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from lq_core.records.record import QueuedTaskRecord

Execute = Callable[[QueuedTaskRecord], Awaitable[QueuedTaskRecord]]

Execution = asyncio.Task[QueuedTaskRecord | None]
"""The asyncio task that executes a record."""


class Slots(Protocol):
    """Counts how many records run at once."""

    def free(self, execution: Execution) -> None:
        """Give the slot of an execution to another record."""
        ...

    def hold(self, execution: Execution) -> None:
        """Give an execution its slot back, although others may have taken it."""
        ...
