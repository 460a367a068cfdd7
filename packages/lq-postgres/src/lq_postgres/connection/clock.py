"""The time of the database, estimated from its last answer."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from lq_core.foundation.clock import utc_now

LONGEST: Final = 60.0
"""Seconds after which an answer is old."""

LEAP: Final = 1.0
"""An answer is also old if this machine's clock has moved this many seconds away from the estimate."""

# This clock goes on while the machine sleeps, if the system has one.
_passing: Final = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


class DatabaseClock:
    """
    Estimates the time of the database, whatever this machine's clock shows.

    If you pass *clock*, it replaces the time of the database.
    """

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.given = clock
        self.was(utc_now())

    def now(self) -> datetime:
        """Return the time that decides which records are due."""
        if self.given is not None:
            return self.given()
        return self._moment + timedelta(seconds=_passing() - self._since)

    @property
    def is_old(self) -> bool:
        """Whether the last answer is too long ago, or this machine has slept or has had its clock set since."""
        passed = _passing() - self._since
        return passed > LONGEST or abs(time.time() - self._asked_at - passed) > LEAP

    def at(self) -> datetime | None:
        """Return the moment for a statement; None stands for the database's own clock."""
        return None if self.given is None else self.given()

    def was(self, moment: datetime) -> None:
        """Store an answer that has just arrived; the estimate may therefore be late, but never early."""
        self._since = _passing()
        self._moment = moment
        self._asked_at = time.time()
        self.ahead = moment - utc_now()
        """How far the database's clock is ahead of this machine's clock."""
