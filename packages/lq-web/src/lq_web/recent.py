"""Numbers that a large store computes slowly: cached, and refreshed in the background while pages show them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final, Generic, TypeVar

from msgspec.structs import replace

from lq_core import Finding, QueuedTaskRecord, QueueService, RecordFilter, Statistics, StorageError, TaskStatus
from lq_core.foundation.event_log import event_log

log = event_log()

LARGE: Final = 10_000
"""With fewer records, every answer is made anew: it takes milliseconds."""

SLOW: Final = 0.02
"""An answer that takes fewer seconds is always made anew."""

TIMES: Final = 50
"""An answer is made again in the background when it is this many times as old as making it took."""

OUTDATED: Final = 2 * TIMES
"""An answer that is this many times as old is not shown any more: the page waits for a new one."""

LONGEST: Final = 60.0
"""After how many seconds an answer is made again at the latest; one of twice that age is not shown any more."""

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
        asking = self._under_way()
        if asking is not None and self._usable() is None:
            _ = await asyncio.wait([asking])
        usable = self._usable()
        if usable is None:
            return await self._ask_again(), 0.0
        if usable[1] > min(TIMES * self._took, LONGEST):
            _ = self.ask()
        return usable

    def ask(self) -> asyncio.Task[None]:
        """Ask in the background, unless that is under way; the task never raises what asking raises."""
        asking = self._under_way() or asyncio.create_task(self._ask_in_the_background())
        self._asking = asking
        return asking

    async def stop(self) -> None:
        """Ask no more in the background."""
        asking = self._under_way()
        if asking is not None:
            _ = asking.cancel()
            _ = await asyncio.wait([asking])

    def _under_way(self) -> asyncio.Task[None] | None:
        asking = self._asking
        if asking is None or asking.done() or asking.get_loop() is not asyncio.get_running_loop():
            return None
        return asking

    def _usable(self) -> tuple[Value, float] | None:
        age = self._elapsed() - self._asked_at
        if self._answer is None or self._took <= SLOW or age > min(OUTDATED * self._took, 2 * LONGEST):
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
        # When the last answer is outdated, a page asks again, and says what is wrong.
        try:
            _ = await self._ask_again()
        except StorageError:
            return
        except Exception:
            log.exception("web.numbers_failed")


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
        asking = asyncio.create_task(self._ask())
        try:
            yield
        finally:
            _ = asking.cancel()
            _ = await asyncio.wait([asking])
            for one in (self._statistics, self._findings, self._running):
                await one.stop()

    async def statistics(self) -> Statistics:
        """Count the records; the count of a large store may be some seconds old, as its ``age`` says."""
        statistics, age = await self._statistics.read()
        return replace(statistics, age=statistics.age + age)

    async def findings(self) -> Sequence[Finding]:
        """Run the checks; the findings in a large store may be some seconds old."""
        _ = await self.statistics()  # A slow count is kept for the findings.
        return (await self._findings.read())[0]

    async def running(self) -> tuple[Sequence[QueuedTaskRecord], float]:
        """Find at most ``KNOWN`` running records; the second value is the age of the answer in seconds."""
        statistics = await self.statistics()
        if not statistics.total(TaskStatus.RUNNING):
            return (), statistics.age
        return await self._running.read()

    async def _ask(self) -> None:
        _ = await asyncio.wait([self._statistics.ask()])
        _ = self._findings.ask()
        _ = self._running.ask()

    async def _count(self) -> Statistics:
        statistics = await self._service().statistics()
        self._are_many = sum(sum(counts.values()) for counts in statistics.counts.values()) > LARGE
        return statistics

    async def _diagnose(self) -> Sequence[Finding]:
        return await self._service().queue_backend.diagnose()

    async def _find_running(self) -> Sequence[QueuedTaskRecord]:
        return await self._service().find(RecordFilter(statuses=(TaskStatus.RUNNING,)), limit=KNOWN)
