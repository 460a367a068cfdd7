"""
Processes that meet trouble: each has its own way to the database, and one call of one process goes wrong.

The way leads to a real queue backend; what is told there is what a database would be told.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from leaping import Time
from lq_core import QueueConfig, TaskStatus
from lq_core.errors import StorageError
from lq_core.queue import BaseQueueBackend, Claim, Claimed, Insertion, Swap

SILENT: Final = "silent"
"""The worker that was there before the play, and is never heard of."""


class Fault(StrEnum):
    """What goes wrong with a call."""

    REFUSED = "refused"
    """It raises, and has not happened."""

    UNANSWERED = "unanswered"
    """It raises, and has happened."""

    DIES_BEFORE = "dies before"
    """The process ends without a word, and it has not happened."""

    DIES_AFTER = "dies after"
    """The process ends without a word, and it has happened."""

    CANCELLED = "cancelled"
    """Whoever began it is cancelled, as by Ctrl-C, and it happens all the same."""


class Point(NamedTuple):
    """One call of one process."""

    process: str
    verb: str
    number: int
    """From 1."""


class Ledger:
    """What the database was told of by all processes together."""

    def __init__(self) -> None:
        self.calls = Counter[tuple[str, str]]()
        self.starts = Counter[UUID]()
        self.attempts = Counter[tuple[UUID, int]]()
        self.ends = list[tuple[UUID, TaskStatus]]()

    def note(self, swaps: Sequence[Swap], kept: Sequence[bool], claimed: Claimed) -> None:
        """Note what a call has changed."""
        changed = [swap for swap, one in zip(swaps, kept, strict=True) if one]
        taken = [swap.record for swap in changed if swap.record.epoch > swap.epoch]
        for record in (*taken, *claimed.records):
            if record.status is TaskStatus.RUNNING:
                self.starts[record.id] += 1
                self.attempts[record.id, record.attempt] += 1
        self.ends += [(record.id, record.status) for record in taken if record.has_ended]

    def note_insertions(self, insertions: Sequence[Insertion]) -> None:
        """Note what is started as soon as it is stored."""
        for record in (insertion.record for insertion in insertions if insertion.created):
            if record.status is TaskStatus.RUNNING and record.worker_id != SILENT:
                self.starts[record.id] += 1
                self.attempts[record.id, record.attempt] += 1


class Way(BaseQueueBackend):
    """The way of one process to the database."""

    def __init__(
        self,
        name: str,
        inner: BaseQueueBackend,
        config: QueueConfig,
        *,
        time: Time,
        ledger: Ledger,
        trouble: tuple[Point, Fault] | None,
    ) -> None:
        super().__init__(config, clock=inner.now)
        self.name = name
        self.inner = inner
        self.is_dead = False
        self.over = asyncio.Event()
        """Set when what is left of the process is to be cleared away."""
        self.victim: asyncio.Task[Any] | None = None
        """Who is cancelled when that is the trouble."""

        self._time = time
        self._ledger = ledger
        self._trouble = trouble

    async def open(self) -> None:
        await self._time.outside(self.inner.open)

    async def meet(self, verb: str, *arguments: Any, **more: Any) -> Any:
        """Make a call, with the trouble that it is to meet."""
        if self.is_dead or self.over.is_set():
            await self._die()
        call = _named(verb, arguments)
        self._ledger.calls[self.name, call] += 1
        fault = self._fault(Point(self.name, call, self._ledger.calls[self.name, call]))
        if fault is Fault.REFUSED:
            raise StorageError("The database is away.")
        if fault is Fault.DIES_BEFORE:
            await self._die()
        if fault is Fault.CANCELLED and self.victim is not None:
            self.victim.cancel()
        answer = await self._time.outside(lambda: getattr(self.inner, verb)(*arguments, **more))
        if verb == "settle_and_claim":
            self._ledger.note(arguments[0], *answer)
        if verb == "insert_many":
            self._ledger.note_insertions(answer)
        if fault is Fault.UNANSWERED:
            raise StorageError("The database did not answer.")
        if fault is Fault.DIES_AFTER:
            await self._die()
        return answer

    async def _die(self) -> None:
        """Be dead: no call comes back, and none is made any more."""
        self.is_dead = True
        await self.over.wait()
        raise StorageError("The play is over.")

    def _fault(self, point: Point) -> Fault | None:
        return self._trouble[1] if self._trouble and self._trouble[0] == point else None


def _named(verb: str, arguments: tuple[Any, ...]) -> str:
    if verb != "settle_and_claim":
        return verb
    swaps, claim = cast("tuple[list[Swap], Claim | None]", arguments)
    parts = ["settle"] * bool(swaps) + ["claim"] * (claim is not None)
    return " and ".join(parts)


def _guarded(verb: str) -> Callable[..., Any]:
    async def call(self: Way, *arguments: Any, **more: Any) -> Any:
        return await self.meet(verb, *arguments, **more)

    return call


def way(
    name: str,
    inner: BaseQueueBackend,
    config: QueueConfig,
    *,
    time: Time,
    ledger: Ledger,
    trouble: tuple[Point, Fault] | None,
) -> Way:
    """Make the way of a process: every verb that a queue backend owes goes by :meth:`Way.meet`."""
    verbs = {verb: _guarded(verb) for verb in BaseQueueBackend.__abstractmethods__}
    made = cast("type[Way]", type("EveryWay", (Way,), verbs))
    return made(name, inner, config, time=time, ledger=ledger, trouble=trouble)
