"""The time by the database's clock, told here without asking it every time."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from lq_core.clock import utc_now

LONGEST: Final = 60.0
"""Seconds after which an answer is old."""

LEAP: Final = 1.0
"""Seconds by which this machine's clock may leave the estimate before the answer is old: the machine may have slept."""

# Where the system has one, the clock that goes on while the machine sleeps.
_passing: Final = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


class DatabaseClock:
    """
    Estimates the database's time from the last answer and what has passed since.

    A clock of this machine that is wrong, or that is set, does not matter. Where another *clock* is given, it counts.
    """

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.given = clock
        self.ahead = timedelta()
        """How far the database's clock was ahead of this machine's when it was last asked."""

        self.was(utc_now())

    def now(self) -> datetime:
        """Tell the time by which records are due."""
        if self.given is not None:
            return self.given()
        return self._moment + timedelta(seconds=_passing() - self._since)

    @property
    def is_old(self) -> bool:
        """Whether the clocks may have drifted apart since the last answer, or this machine has slept, or was set."""
        passed = _passing() - self._since
        return passed > LONGEST or abs(time.time() - self._asked_at - passed) > LEAP

    def at(self) -> datetime | None:
        """The moment to hand to a statement: None lets the database look at its own clock."""
        return None if self.given is None else self.given()

    def was(self, moment: datetime) -> None:
        """Take note of an answer of the database that has just come; so the estimate may be late, never early."""
        self._since = _passing()
        self._moment = moment
        self._asked_at = time.time()
        self.ahead = moment - utc_now()
