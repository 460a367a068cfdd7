"""Loops that run until their worker stops."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from lq_core.foundation.event_log import event_log
from lq_core.foundation.stray_cancellation import raise_if_cancelled

log = event_log()

LONGEST_PAUSE: Final = 10.0
"""The longest pause, in seconds, after a failed step."""


Step: TypeAlias = Callable[[], Awaitable[float]]
"""One step of a loop; it returns the number of seconds until the next one."""


class Stop:
    """A request to stop, which waiters can wait for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Request the stop."""
        self._event.set()

    async def wait(self, timeout: float | None) -> bool:
        """Wait for the request; False after *timeout* seconds (None: never)."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Loops:
    """The loops of a worker. One that code of the application has cancelled is started again."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._running: dict[asyncio.Task[None], tuple[str, Step]] = {}

    def start(self, name: str, step: Step) -> None:
        """Repeat a step, as :func:`repeat` does."""
        self._running[asyncio.create_task(repeat(name, step, self._stop))] = name, step

    async def keep(self) -> None:
        """Keep all of them running until the stop. Raises what ends one, for example SystemExit."""
        while not self._stop:
            ended, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            for one in ended:
                name, step = self._running.pop(one)
                if not one.cancelled():
                    one.result()
                elif not self._stop:
                    log.warning("worker.loop_cancelled", extra={"step": name})
                    self.start(name, step)

    async def end(self, *, but: str) -> None:
        """Cancel all, except those of the name *but*, and wait for all."""
        for one, (name, _) in self._running.items():
            if name != but:
                one.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def repeat(name: str, step: Step, stop: Stop) -> None:
    """
    Repeat a step until *stop*.

    A failed step is repeated after a pause, which doubles with each failure.
    """
    failures = 0
    while not stop:
        try:
            pause = await step()
            failures = 0
        except (Exception, asyncio.CancelledError) as error:
            raise_if_cancelled(error)
            failures += 1
            pause = min(0.1 * 2 ** min(failures, 10), LONGEST_PAUSE) * random.uniform(0.5, 1)  # noqa: S311 -- spreads load
            log.warning(
                "worker.step_failed",
                extra={"step": name, "error": f"{type(error).__name__}: {error}", "pause": pause},
                exc_info=failures == 1,
            )
        if pause > 0:
            await stop.wait(pause)
