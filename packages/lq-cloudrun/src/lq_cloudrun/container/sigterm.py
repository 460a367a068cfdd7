"""SIGTERM as a future. Cloud Run sends it when an execution is cancelled or its time is up, and kills soon after."""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

Answer = TypeVar("Answer")


@contextmanager
def sigterm(*, then: Any) -> "Generator[asyncio.Future[None]]":
    """Provide a future that is done after SIGTERM; *then* handles the signal afterwards."""
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[None] = loop.create_future()
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread can catch signals.
        yield stopping
        return
    loop.add_signal_handler(signal.SIGTERM, lambda: stopping.done() or stopping.set_result(None))
    try:
        yield stopping
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, then)


async def unless_stopped(step: Coroutine[Any, Any, Answer], stopping: "asyncio.Future[None]") -> Answer | None:
    """Return the result of *step*. After SIGTERM, cancel it, and return None unless it ends with a result."""
    task = asyncio.create_task(step)
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
    await asyncio.wait({task})
    return None if task.cancelled() else task.result()
