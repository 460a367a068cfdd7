"""Counts the calls of the last minute."""

from collections import deque
from typing import Final

MINUTE: Final = 60.0


class Quota:
    """At most *per_minute* calls in any sixty seconds."""

    def __init__(self, per_minute: float) -> None:
        self._per_minute = per_minute
        self._calls: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Count a call at *now*, by a clock that does not go back; False if there were too many, and then not."""
        while self._calls and self._calls[0] <= now - MINUTE:
            self._calls.popleft()
        if len(self._calls) >= self._per_minute:
            return False
        self._calls.append(now)
        return True
