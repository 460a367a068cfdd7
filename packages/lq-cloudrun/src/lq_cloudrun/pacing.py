"""
How fast and how many: each job has a rate that adapts, a breaker and a cap on what is in flight, shared by workers.

A refusal for the quota halves the rate, every accepted run raises it a little. Times come from the caller.
"""

from dataclasses import dataclass, field
from math import ceil
from typing import Final

from lq_cloudrun.config import CloudRunExecutionConfig

SLOWEST: Final = 1.0
"""Executions in a minute below which the rate never falls."""

BURST_SECONDS: Final = 15.0
"""How many seconds' worth of runs may be started at once after a rest."""

LONGEST: Final = 600.0
"""Seconds for which a record is put off at most."""


@dataclass
class Lane:
    """The pace of one job; *now* is any clock that does not go back."""

    config: CloudRunExecutionConfig
    rate: float = field(init=False)
    """Executions in a minute, now, of all sharers together."""

    in_flight: int = 0
    """Records with Cloud Run, by the last count and what was dispatched since."""

    sharers: int = 1
    """How many workers share the rate, and what room there is."""

    def __post_init__(self) -> None:
        self.rate = self.config.pace
        self._tokens = self._burst
        self._filled_at: float | None = None
        self._closed_until = 0.0
        self._failures = 0
        self._last_turn = 0.0

    def room(self, now: float) -> int:
        """How many executions may be started now."""
        self._fill(now)
        if now < self._closed_until:
            return 0
        # Rounded up, or the last places would never be taken.
        free = ceil(max(0, self.config.max_in_flight - self.in_flight) / self.sharers)
        # After a refusal one run finds out whether the job works again.
        return min(free, 1 if self._failures else int(self._tokens))

    def wait(self, now: float) -> float:
        """How many seconds until an execution may be started; 0 when one may be started now."""
        self._fill(now)
        if now < self._closed_until:
            return self._closed_until - now
        if self.is_full:
            return self.config.poll_interval
        return max(0.0, (1 - self._tokens) * 60 / self._share)

    def put_off(self, now: float) -> float:
        """
        Tell in how many seconds a record may be tried that may not be started now: each after the one before.

        They come back as fast as the pace may ever become, and as places may become free, but no faster: otherwise all
        that waits for a full job would be reserved and given back again and again, while another job has room.
        """
        fastest = max(60 / self._ceiling, self.config.poll_interval / self.config.max_in_flight)
        self._last_turn = min(max(self._last_turn, now) + fastest * self.sharers, now + LONGEST)
        return max(self._last_turn - now, self.wait(now))

    def reason(self, now: float) -> str:
        """Say why nothing may be started now."""
        if now < self._closed_until:
            return f"it was refused, and is left alone for {self._closed_until - now:.0f} s"
        if self.is_full:
            return f"{self.in_flight} of its records are with Cloud Run, which is max_in_flight"
        return f"its pace is {self.rate:.0f} in a minute"

    def take(self, now: float) -> None:
        """Count one execution that is about to be started."""
        self._fill(now)
        self._tokens -= 1
        self.in_flight += 1

    def accepted(self) -> None:
        """Go a little faster, for Cloud Run has accepted a run."""
        self._failures = 0
        self.rate = min(self.rate + 0.5, self._ceiling)

    def slow_down(self, now: float) -> float:
        """Go half as fast, for the quota is used up, and tell how many seconds to wait."""
        self._fill(now)
        self.in_flight -= 1
        self.rate = max(self.rate / 2, SLOWEST)
        self._tokens = min(self._tokens, 0.0)
        pause = 60 / self.rate
        self._closed_until = max(self._closed_until, now + pause)
        return pause

    def close(self, now: float) -> float:
        """Start nothing for a while, for the job refuses, and tell for how many seconds."""
        self.in_flight -= 1
        pause = min(self.config.breaker_pause * 2.0**self._failures, self.config.max_breaker_pause)
        self._failures = min(self._failures + 1, 20)
        self._closed_until = max(self._closed_until, now + pause)
        return pause

    def forget(self) -> None:
        """Give back what was taken for an execution that was not asked for after all."""
        self._tokens += 1
        self.in_flight -= 1

    @property
    def is_full(self) -> bool:
        """Whether as many records are with Cloud Run as may be."""
        return self.in_flight >= self.config.max_in_flight

    @property
    def _ceiling(self) -> float:
        return max(self.config.max_runs_per_minute, self.config.pace)

    @property
    def _burst(self) -> float:
        return max(1.0, self._share * BURST_SECONDS / 60)

    @property
    def _share(self) -> float:
        return self.rate / self.sharers

    def _fill(self, now: float) -> None:
        if self._filled_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._share / 60)
        self._filled_at = now
