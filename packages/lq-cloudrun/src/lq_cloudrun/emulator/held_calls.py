"""A hold: calls wait for it until a test releases it, from any thread."""

import asyncio
from threading import Lock
from typing import Self

from typing_extensions import override


class Hold:
    """
    Makes callers of :meth:`wait` wait until :meth:`release`.

    As a context manager, it is released at the end, also if a test fails.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._released = False
        self._waiting: list[asyncio.Future[None]] = []

    @override
    def __repr__(self) -> str:
        return f"<Hold released={self._released} waiting={self.waiting}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    @property
    def released(self) -> bool:
        """Whether it was released."""
        return self._released

    @property
    def waiting(self) -> int:
        """The number of callers that wait now."""
        return len(self._waiting)

    def release(self) -> None:
        """Let every caller pass from now on."""
        with self._lock:
            self._released = True
            waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.get_loop().call_soon_threadsafe(_pass, future)

    async def wait(self) -> None:
        """Wait for :meth:`release`."""
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._released:
                return
            self._waiting.append(future)
        try:
            await future
        finally:
            with self._lock:
                if future in self._waiting:
                    self._waiting.remove(future)


def _pass(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
