"""Plain functions run in threads of their own, so that one that hangs takes nobody's place."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

from lq_core.event_log import event_log

Result = TypeVar("Result")

log = event_log()


async def run_in_thread(function: Callable[[], Result], *, name: str) -> Result:
    """
    Run a function in a new daemon thread, with the caller's context variables, and return what it returns.

    A thread cannot be stopped: when the wait is cancelled the function runs on, and the log says so, now and
    when it ends.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Result] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Result | None, error: BaseException | None) -> None:
        if outcome.done():
            log.warning("task.thread_ended_late", extra={"task_name": name})
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

    threading.Thread(target=body, name=f"lq {name}", daemon=True).start()
    try:
        return await outcome
    except asyncio.CancelledError:
        log.warning("task.thread_abandoned", extra={"task_name": name})
        raise
