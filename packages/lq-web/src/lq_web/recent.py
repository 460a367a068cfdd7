"""What takes a large store long to tell: kept, and asked for again in the background, so that no page waits for it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final, Generic, TypeVar

from msgspec.structs import replace

from lq_core import Finding, QueuedTaskRecord, QueueService, RecordFilter, Statistics, StorageError, TaskStatus

LARGE: Final = 10_000
"""With fewer records, every answer is made anew: it takes milliseconds."""

SLOW: Final = 0.02
"""An answer that takes fewer seconds is always made anew."""

TIMES: Final = 50
"""An answer is made again in the background when it is this many times as old as making it took."""

OUTDATED: Final = 2 * TIMES
"""An answer that is this many times as old is not shown any more: the page waits for a new one."""

KNOWN: Final = 500
"""How many running records are found; if there are fewer, they are all of them."""

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The last answer to one question; an answer to be kept is one that *keeps* accepts, and that took long."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Value]],
        *,
        keeps: Callable[[Value], bool],
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._ask = ask
        self._keeps = keeps
        self._elapsed = elapsed
        self._asked_at = self._took = 0.0
        self._answer: Value | None = None
        self._asking: asyncio.Task[None] | None = None

    async def read(self) -> tuple[Value, float]:
        """Return the last answer, or a new one, and how many seconds old it is."""
        if self._asking is not None and self._usable() is None:
            await asyncio.shield(self._asking)
        usable = self._usable()
        if usable is None:
            return await self._ask_again(), 0.0
        if usable[1] > TIMES * self._took:
            self.ask()
        return usable

    def ask(self) -> None:
        """Ask in the background, unless that is under way."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_in_the_background())

    async def stop(self) -> None:
        """Ask no more in the background."""
        if self._asking is not None:
            _ = self._asking.cancel()
            _ = await asyncio.wait([self._asking])

    def _usable(self) -> tuple[Value, float] | None:
        age = self._elapsed() - self._asked_at
        if self._answer is None or self._took <= SLOW or age > OUTDATED * self._took:
            return None
        return self._answer, age

    async def _ask_again(self) -> Value:
        began = self._elapsed()
        answer = await self._ask()
        # The store may have answered at once because it still keeps a slow count.
        self._took = max(self._elapsed() - began, self._took / 2)
        self._asked_at, self._answer = began, answer if self._keeps(answer) else None
        return answer

    async def _ask_in_the_background(self) -> None:
        try:
            _ = await self._ask_again()
        except StorageError:
            return  # When the last answer is outdated, a page asks again, and says what is wrong.


class Numbers:
    """How many records there are, which ones run, and what the checks have found, for the pages of one application."""

    def __init__(self, service: Callable[[], QueueService]) -> None:
        self._service = service
        self._are_many = False
        self._statistics = Recent(self._count, keeps=lambda _: self._are_many)
        self._findings = Recent(self._diagnose, keeps=lambda _: self._are_many)
        self._running = Recent(self._find_running, keeps=lambda _: self._are_many)

    @asynccontextmanager
    async def ahead(self) -> AsyncGenerator[None]:
        """Ask for everything in the background, so that the first page mostly finds it, and leave nothing running."""
        each = (self._statistics, self._findings, self._running)
        for one in each:
            one.ask()
        try:
            yield
        finally:
            for one in reversed(each):
                await one.stop()

    async def statistics(self) -> Statistics:
        """Count the records; the count of a large store may be some seconds old, as its ``age`` says."""
        statistics, age = await self._statistics.read()
        return replace(statistics, age=statistics.age + age)

    async def findings(self) -> Sequence[Finding]:
        """Run the checks; the findings in a large store may be some seconds old."""
        return (await self._findings.read())[0]

    async def running(self) -> tuple[Sequence[QueuedTaskRecord], float]:
        """Find at most ``KNOWN`` running records; in a large store, they ran as many seconds ago as it says."""
        return await self._running.read()

    async def _count(self) -> Statistics:
        statistics = await self._service().statistics()
        self._are_many = sum(sum(counts.values()) for counts in statistics.counts.values()) > LARGE
        return statistics

    async def _diagnose(self) -> Sequence[Finding]:
        _ = await self.statistics()  # First: a slow count is kept for the findings.
        return await self._service().queue_backend.diagnose()

    async def _find_running(self) -> Sequence[QueuedTaskRecord]:
        _ = await self.statistics()  # First: whether there are many records.
        return await self._service().find(RecordFilter(statuses=(TaskStatus.RUNNING,)), limit=KNOWN)
