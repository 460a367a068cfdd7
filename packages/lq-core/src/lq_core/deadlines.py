"""Tells attempts that their time is up: one timer of the event loop for all of them, however many run."""

import asyncio
from collections.abc import Callable


class Deadlines:
    """
    Calls back when a time is up, unless it is withdrawn before.

    Most attempts end long before their time is up, and a timer for each would cost more than the rest of a short one.
    """

    def __init__(self) -> None:
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, who: object, seconds: float, late: Callable[[], None]) -> None:
        """Call *late* in so many seconds on behalf of *who*, who has one deadline at most."""
        loop = self._loop = self._loop or asyncio.get_running_loop()  # To look for it each time takes longer.
        due = loop.time() + seconds
        self._due[who] = (due, late)
        if self._timer is None or due < self._timer.when():
            self._arm(loop, due)

    def withdraw(self, who: object) -> None:
        """Forget the deadline of *who*, if there is one."""
        self._due.pop(who, None)  # The timer stays: it finds out by itself that nobody is late.

    def close(self) -> None:
        """Call nobody any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(due, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._timer is not None
        now, self._timer = max(loop.time(), self._timer.when()), None
        for who, (due, late) in list(self._due.items()):
            if due <= now:
                del self._due[who]
                late()
        if self._due:
            self._arm(loop, min(due for due, _ in self._due.values()))
