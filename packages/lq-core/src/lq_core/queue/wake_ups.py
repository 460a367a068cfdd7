"""Wake-ups within one process: hints that there may be work."""

import asyncio


class WakeUps:
    """Wakes those who wait in this event loop; a caller does not miss a wake-up that came while it looked for work."""

    def __init__(self) -> None:
        self.number = 0
        """How many wake-ups there were."""

        self._sleepers: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake all that wait."""
        self.number += 1
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
        self._sleepers.clear()

    async def wait(self, number: int, *, timeout: float) -> None:
        """Return once there were more than *number* wake-ups, or after *timeout* seconds."""
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
