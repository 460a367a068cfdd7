"""An event loop in which time passes only when nobody has anything else to do, and then at once."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from selectors import DefaultSelector, SelectorKey
from typing import Any, Final, TypeVar

Answer = TypeVar("Answer")

BEGIN: Final = datetime(2026, 10, 25, 0, 59, tzinfo=UTC)


class Time(DefaultSelector):
    """
    The time of one event loop: it leaps to the next timer as soon as everything stands still.

    While a thread works on something that the loop waits for (:meth:`outside`), time stands still.
    """

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0
        self.set_by = 0.0
        """Seconds by which somebody has set the clock; the time that passes is another matter."""

        self._outside = 0

    def now(self) -> datetime:
        """The moment, as a queue backend wants to know it."""
        return BEGIN + timedelta(seconds=self.passed + self.set_by)

    async def outside(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Wait for what is done outside of the loop."""
        self._outside += 1
        try:
            return await call()
        finally:
            self._outside -= 1

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Wait for input as long as something is under way; else let the time pass."""
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        events = super().select(0.05 if self._outside else 0)
        if not events and not self._outside:
            self.passed += timeout
        return events


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, time: Time) -> None:
        self._leaping = time
        super().__init__(time)

    def time(self) -> float:
        return self._leaping.passed


def leap_through(play: Callable[[Time], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run a play to its end in a loop of its own; what takes an hour by its clock is over at once."""
    time = Time()
    with asyncio.Runner(loop_factory=lambda: _Loop(time)) as runner:
        return runner.run(play(time))
