"""A loop that nothing ends but the end of the worker."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from lq_core.event_log import event_log

log = event_log()

LONGEST_PAUSE: Final = 10.0
"""Seconds between two tries of a step that keeps failing."""


class Stop:
    """Says once that the worker is to stop, to everybody who waits."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Say so."""
        self._event.set()

    async def wait(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds, and say whether it is time to stop."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


async def repeat(name: str, step: Callable[[], Awaitable[float]], stop: Stop) -> None:
    """
    Take a step again and again until *stop*; the step says how many seconds to wait before the next.

    A step that fails is tried again, after a pause that doubles from failure to failure.
    """
    failures = 0
    while not stop:
        try:
            pause = await step()
            failures = 0
        except Exception as error:
            failures += 1
            pause = min(0.1 * 2 ** min(failures, 10), LONGEST_PAUSE) * random.uniform(0.5, 1)  # noqa: S311 -- spreads load
            log.warning(
                "worker.step_failed",
                extra={"step": name, "error": f"{type(error).__name__}: {error}", "pause": pause},
                exc_info=failures == 1,
            )
        if pause > 0:
            await stop.wait(pause)
