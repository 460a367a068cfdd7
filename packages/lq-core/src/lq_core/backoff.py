"""How long a failed record waits before its next attempt."""

import random
from typing import Final

from lq_core.clock import LONGEST_WAIT
from lq_core.record import Backoff

DEFAULT_BACKOFF: Final = Backoff()


def backoff_delay(backoff: Backoff | None, failures: int) -> float:
    """Draw the seconds to wait after this many failures (1 for the first), by *backoff* or the house's default."""
    policy = backoff or DEFAULT_BACKOFF
    try:
        wait = policy.base * policy.factor ** (failures - 1)
    except OverflowError:
        wait = policy.cap
    wait = min(wait, policy.cap, LONGEST_WAIT)
    return wait * (1 + policy.jitter * (2 * random.random() - 1))  # noqa: S311 -- spreads load; nothing depends on it
