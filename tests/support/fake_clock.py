"""An event loop whose time jumps to the next timer as soon as nothing else is ready."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from selectors import DefaultSelector, SelectorKey
from typing import Any, Final, TypeVar

Answer = TypeVar("Answer")

BEGIN: Final = datetime(2026, 10, 25, 0, 59, tzinfo=UTC)


class Time(DefaultSelector):
    """
    The time of one event loop: it jumps to the next timer as soon as nothing is ready.

    While the loop waits for a thread (:meth:`outside`), time does not pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0
        self.set_by = 0.0
        """Seconds by which a test has set the clock, beside the time that has passed."""

        self._outside = 0

    def now(self) -> datetime:
        """Return the current time, as the clock of a queue backend."""
        return BEGIN + timedelta(seconds=self.passed + self.set_by)

    async def outside(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Wait for work outside of the loop, for example in a thread."""
        self._outside += 1
        try:
            return await call()
        finally:
            self._outside -= 1

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Wait for input while work is under way outside; otherwise let time pass."""
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        events = super().select(0.05 if self._outside else 0)
        if not events and not self._outside:
            self.passed += timeout
        return events


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, time: Time) -> None:
        self._time = time
        super().__init__(time)

    def time(self) -> float:
        return self._time.passed


def run_with_fake_clock(scenario: Callable[[Time], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run a scenario to its end in a loop of its own, without waiting for its timers."""
    time = Time()
    with asyncio.Runner(loop_factory=lambda: _Loop(time)) as runner:
        return runner.run(scenario(time))
