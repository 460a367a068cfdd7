"""An emulator in its own thread, for tests without an event loop and for programs with another one."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from threading import Thread
from typing import Self, TypeVar

from lq_cloudrun.emulator.emulator import Emulator

T = TypeVar("T")


class EmulatorThread:
    """
    Runs an emulator in a thread, for the length of a ``with`` block.

    You can use ``thread.emulator.address`` and ``thread.emulator.faults`` from any thread. Use :meth:`run` for
    coroutines.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._opened: Future[asyncio.AbstractEventLoop] = Future()
        self._closing = asyncio.Event()
        self._thread = Thread(target=self._live, name="lq-cloudrun-emulator", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread, and wait until the emulator serves."""
        self._thread.start()
        self._opened.result()
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the emulator and wait for the thread."""
        self._opened.result().call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def run(self, step: Callable[[Emulator], Coroutine[object, object, T]]) -> T:
        """
        Await *step* in the event loop of the emulator, and return its result.

        For example ``thread.run(lambda emulator: emulator.wait_until_over(name))``.
        """
        return asyncio.run_coroutine_threadsafe(step(self.emulator), self._opened.result()).result()

    def _live(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)
        finally:
            # After any error, no caller may wait longer for the thread to open.
            self._opened.cancel()

    async def _serve(self) -> None:
        async with self.emulator:
            self._opened.set_result(asyncio.get_running_loop())
            await self._closing.wait()
