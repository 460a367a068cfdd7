"""Lets a test wait for a state instead of sleeping: whoever changes something rings, whoever waits looks again."""

import asyncio
from collections.abc import Callable


class Bell:
    """Rung at every change; belongs to one event loop."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Make everybody who waits look again."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait_until(self, check: Callable[[], bool], *, within: float) -> None:
        """Wait until *check* holds; TimeoutError after *within* seconds."""
        async with asyncio.timeout(within):
            while not check():
                await self._rung.wait()
