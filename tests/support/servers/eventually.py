"""Waits for another process by polling, until a deadline."""

import time
from collections.abc import Callable
from typing import Final

SECONDS_BETWEEN_LOOKS: Final = 0.02


def wait_until(condition: Callable[[], bool], *, within: float, otherwise: Callable[[], str]) -> None:
    """
    Return as soon as *condition* holds.

    Raises:
        TimeoutError: It did not hold *within* so many seconds; *otherwise* makes the message.
    """
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(otherwise())
        time.sleep(SECONDS_BETWEEN_LOOKS)  # Another process has no event for this one.
