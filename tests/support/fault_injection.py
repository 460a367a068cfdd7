"""
Fault injection: each process has a queue backend of its own, and one call of one process fails.

Each of them calls a real queue backend. A call log counts the calls of all processes.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from fake_clock import Time
from lq_core import QueueConfig, TaskStatus
from lq_core.foundation.errors import StorageError
from lq_core.queue import BaseQueueBackend, Claim, Claimed, Insertion, Swap

SILENT: Final = "silent"
"""A worker that was registered before the scenario and sends no heartbeat."""


class Fault(StrEnum):
    """What goes wrong with a call."""

    REFUSED = "refused"
    """The call raises, and had no effect."""

    UNANSWERED = "unanswered"
    """The call raises, but had its effect."""

    DIES_BEFORE = "dies before"
    """The process dies before the call has an effect."""

    DIES_AFTER = "dies after"
    """The process dies after the call had its effect."""

    CANCELLED = "cancelled"
    """The caller is cancelled, as by Ctrl-C, but the call has its effect."""


class Point(NamedTuple):
    """One call of one process."""

    process: str
    method: str
    number: int
    """From 1."""


class CallLog:
    """The calls of all processes, and their effects."""

    def __init__(self) -> None:
        self.calls = Counter[tuple[str, str]]()
        self.starts = Counter[UUID]()
        self.attempts = Counter[tuple[UUID, int]]()
        self.ends = list[tuple[UUID, TaskStatus]]()

    def note(self, swaps: Sequence[Swap], kept: Sequence[bool], claimed: Claimed) -> None:
        """Log the changes of a call."""
        changed = [swap for swap, one in zip(swaps, kept, strict=True) if one]
        taken = [swap.record for swap in changed if swap.record.epoch > swap.epoch]
        for record in (*taken, *claimed.records):
            if record.status is TaskStatus.RUNNING:
                self.starts[record.id] += 1
                self.attempts[record.id, record.attempt] += 1
        self.ends += [(record.id, record.status) for record in taken if record.has_ended]

    def note_insertions(self, insertions: Sequence[Insertion]) -> None:
        """Log records that start as soon as they are stored."""
        for record in (insertion.record for insertion in insertions if insertion.created):
            if record.status is TaskStatus.RUNNING and record.worker_id != SILENT:
                self.starts[record.id] += 1
                self.attempts[record.id, record.attempt] += 1


class FaultyBackend(BaseQueueBackend):
    """The queue backend of one process; one of its calls can fail."""

    def __init__(
        self,
        name: str,
        inner: BaseQueueBackend,
        config: QueueConfig,
        *,
        time: Time,
        call_log: CallLog,
        injected: tuple[Point, Fault] | None,
    ) -> None:
        super().__init__(config, clock=inner.now)
        self.name = name
        self.inner = inner
        self.is_dead = False
        self.over = asyncio.Event()
        """Set when the scenario is over and the process has to end."""
        self.to_cancel: asyncio.Task[Any] | None = None
        """The task to cancel when the fault is a cancellation."""

        self._time = time
        self._call_log = call_log
        self._injected = injected

    async def open(self) -> None:
        await self._time.outside(self.inner.open)

    async def call(self, method: str, *arguments: Any, **more: Any) -> Any:
        """Make a call, with the fault that is injected into it."""
        if self.is_dead or self.over.is_set():
            await self._die()
        call = _named(method, arguments)
        self._call_log.calls[self.name, call] += 1
        fault = self._fault(Point(self.name, call, self._call_log.calls[self.name, call]))
        if fault is Fault.REFUSED:
            raise StorageError("The database is not available.")
        if fault is Fault.DIES_BEFORE:
            await self._die()
        if fault is Fault.CANCELLED and self.to_cancel is not None:
            self.to_cancel.cancel()
        answer = await self._time.outside(lambda: getattr(self.inner, method)(*arguments, **more))
        if method == "settle_and_claim":
            self._call_log.note(arguments[0], *answer)
        if method == "insert_many":
            self._call_log.note_insertions(answer)
        if fault is Fault.UNANSWERED:
            raise StorageError("The database did not answer.")
        if fault is Fault.DIES_AFTER:
            await self._die()
        return answer

    async def _die(self) -> None:
        """Act as a dead process: no call returns, and no further call is made."""
        self.is_dead = True
        await self.over.wait()
        raise StorageError("The scenario is over.")

    def _fault(self, point: Point) -> Fault | None:
        return self._injected[1] if self._injected and self._injected[0] == point else None


def _named(method: str, arguments: tuple[Any, ...]) -> str:
    if method != "settle_and_claim":
        return method
    swaps, claim = cast("tuple[list[Swap], Claim | None]", arguments)
    parts = ["settle"] * bool(swaps) + ["claim"] * (claim is not None)
    return " and ".join(parts)


def _guarded(method: str) -> Callable[..., Any]:
    async def call(self: FaultyBackend, *arguments: Any, **more: Any) -> Any:
        return await self.call(method, *arguments, **more)

    return call


def faulty_backend(
    name: str,
    inner: BaseQueueBackend,
    config: QueueConfig,
    *,
    time: Time,
    call_log: CallLog,
    injected: tuple[Point, Fault] | None,
) -> FaultyBackend:
    """Make the queue backend of a process: every abstract method goes through :meth:`FaultyBackend.call`."""
    methods = {name: _guarded(name) for name in BaseQueueBackend.__abstractmethods__}
    made = cast("type[FaultyBackend]", type("FaultyBackendOfEveryMethod", (FaultyBackend,), methods))
    return made(name, inner, config, time=time, call_log=call_log, injected=injected)
