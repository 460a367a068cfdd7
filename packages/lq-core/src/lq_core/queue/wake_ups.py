"""Wake-ups within one process: hints that there may be work, and never the truth."""

import asyncio


class WakeUps:
    """Wakes whoever waits for work in this event loop, and lets nobody miss what came while it was looking."""

    def __init__(self) -> None:
        self.number = 0
        """How many there were."""

        self._sleepers: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake everybody who waits."""
        self.number += 1
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
        self._sleepers.clear()

    async def wait(self, number: int, *, timeout: float) -> None:
        """Return at the next one after so many, which may have been already, or after *timeout* seconds."""
        if number != self.number:
            return
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.add(sleeper)
        try:
            async with asyncio.timeout(timeout):
                await sleeper
        except TimeoutError:
            pass
        finally:
            self._sleepers.discard(sleeper)
