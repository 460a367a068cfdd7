"""The timeouts of all running attempts, with one timer of the event loop."""

import asyncio
from collections.abc import Callable


class Deadlines:
    """
    Calls back at a deadline, unless it is withdrawn before.

    Most attempts end long before their timeout, and a timer for each would cost more than a short attempt itself.
    """

    def __init__(self) -> None:
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, who: object, seconds: float, late: Callable[[], None]) -> None:
        """Call *late* after *seconds*; *who* has at most one deadline."""
        loop = self._loop = self._loop or asyncio.get_running_loop()  # Kept, because the lookup takes longer.
        due = loop.time() + seconds
        self._due[who] = (due, late)
        if self._timer is None or due < self._timer.when():
            self._arm(loop, due)

    def withdraw(self, who: object) -> None:
        """Forget the deadline of *who*, if there is one."""
        self._due.pop(who, None)  # The timer stays; it finds nothing to do.

    def is_over(self, who: object) -> bool:
        """Whether the deadline of *who* is over; any thread may ask, because a blocked event loop cannot call back."""
        due = self._due.get(who)
        return due is not None and self._loop is not None and due[0] <= self._loop.time()

    def close(self) -> None:
        """Forget all deadlines."""
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
