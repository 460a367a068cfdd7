"""The executions of records, and the slots of a worker that they use."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

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


class TakenSlots:
    """The slots that executions use; an execution of no worker uses none."""

    def __init__(self) -> None:
        self._slots: dict[asyncio.Task[Any], Slots] = {}

    def take(self, execution: Execution, slots: Slots) -> None:
        """Note that an execution uses a slot of these."""
        self._slots[execution] = slots

    def free(self, body: asyncio.Task[Any]) -> bool:
        """Give the slot of an asyncio task to others; False if it uses none."""
        slots = self._slots.get(body)
        if slots is not None:
            slots.free(body)
        return slots is not None

    def hold(self, body: asyncio.Task[Any]) -> None:
        """Take the slot of an asyncio task back, although others may have taken it."""
        if (slots := self._slots.get(body)) is not None:
            slots.hold(body)

    def end(self, execution: Execution) -> None:
        """Give the slot of an execution to others for good."""
        if (slots := self._slots.pop(execution, None)) is not None:
            slots.free(execution)
