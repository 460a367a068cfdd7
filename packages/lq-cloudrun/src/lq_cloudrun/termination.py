"""SIGTERM, as an event: Cloud Run sends it when an execution is cancelled or its time is up, and kills soon after."""

import asyncio
import signal
import threading
from types import FrameType
from typing import Any

from lq_core.event_log import event_log

log = event_log("lq.cloudrun")


class Termination:
    """Whether the process has been asked to end; asking twice is as good as once."""

    def __init__(self) -> None:
        self._asked = False
        self._watched: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._before: Any = None

    @property
    def asked(self) -> bool:
        """Whether SIGTERM has arrived."""
        return self._asked

    def install(self) -> None:
        """Catch SIGTERM from now on; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)

    def restore(self) -> None:
        """Leave SIGTERM to whom it belonged before."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    async def wait(self) -> None:
        """Wait until SIGTERM arrives."""
        event = asyncio.Event()
        self._watched = asyncio.get_running_loop(), event
        if self._asked:
            return
        await event.wait()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        if self._watched is not None and not self._watched[0].is_closed():
            loop, event = self._watched
            loop.call_soon_threadsafe(event.set)
