"""Plain functions run in threads of their own, so that one that hangs takes nobody's place."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from lq_core.event_log import event_log

Result = TypeVar("Result")

log = event_log()


_ABANDONED: Final[set[threading.Thread]] = set()
"""The threads that nobody waits for any more, and that may have ended since."""


async def run_in_thread(function: Callable[[], Result], *, name: str, facts: Mapping[str, object]) -> Result:
    """
    Run a function in a new daemon thread, with the caller's context variables, and return what it returns.

    A thread cannot be stopped: when the wait is cancelled the function runs on, and the log says so with these *facts*,
    now, with how many such threads this process has, and when it ends.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Result] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Result | None, error: BaseException | None) -> None:
        if outcome.done():
            late = round(time.monotonic() - abandoned_at, 3)
            why = None if error is None else f"{type(error).__name__}: {error}"
            log.warning("task.thread_ended_late", extra={**facts, "seconds_late": late, "error": why})
        elif error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(value)  # pyright: ignore[reportArgumentType] -- without an error there is a value

    def body() -> None:
        value: Result | None = None
        error: BaseException | None = None
        try:
            value = context.run(function)
        except (StopIteration, KeyboardInterrupt, GeneratorExit) as stopped:
            # Raised again in the event loop, these would end more than the task.
            error = RuntimeError(f"The function raised {stopped!r}")
        except BaseException as raised:  # noqa: BLE001 -- whatever it is, it belongs to who waits for the outcome
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, error)

    thread = threading.Thread(target=body, name=f"lq {name}", daemon=True)
    thread.start()
    abandoned_at = 0.0
    try:
        return await outcome
    except asyncio.CancelledError:
        abandoned_at = time.monotonic()
        _ABANDONED.add(thread)
        _ABANDONED.difference_update([each for each in _ABANDONED if not each.is_alive()])
        log.warning("task.thread_abandoned", extra={**facts, "abandoned_threads": len(_ABANDONED)})
        raise
