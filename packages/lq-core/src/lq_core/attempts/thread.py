"""Runs plain functions in threads of their own, so that a function that hangs blocks no other."""

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, TypeVar

from lq_core.foundation.event_log import event_log
from lq_core.foundation.new_thread import call_in

Result = TypeVar("Result")

log = event_log()

PREFIX: Final = "lq "
"""How the name of a thread begins; the name of its task follows."""

_ABANDONED: Final[set[threading.Thread]] = set()
"""Threads that were left running; some may have ended."""


def abandoned() -> list[str]:
    """Return the names of the tasks whose threads were left running, and still run."""
    return [thread.name.removeprefix(PREFIX) for thread in _ABANDONED if thread.is_alive()]


async def run_in_thread(
    function: Callable[[], Result], *, name: str, facts: Mapping[str, object], context: Context
) -> Result:
    """
    Run a function in a new daemon thread, with the context variables of *context*, and return what it returns.

    A thread cannot be stopped: if the wait is cancelled, the function runs on. The log says so with these *facts*, at
    once and when the function ends.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Result] = loop.create_future()

    def settle(value: Result | None, error: BaseException | None) -> None:
        if outcome.done():
            late = round(time.monotonic() - abandoned_at, 3)
            why = None if error is None else f"{type(error).__name__}: {error}"
            log.warning("task.thread_ended_late", extra={**facts, "seconds_late": late, "error": why})
            _close(value)
        elif error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(value)  # pyright: ignore[reportArgumentType] -- without an error there is a value

    def body() -> None:
        ended = _end_of(function, context)
        try:
            loop.call_soon_threadsafe(settle, *ended)
        except RuntimeError:  # The event loop has ended.
            _close(ended[0])
        finally:
            del ended  # A traceback in it leads to this frame.

    thread = threading.Thread(target=body, name=f"{PREFIX}{name}", daemon=True)
    thread.start()
    abandoned_at = 0.0
    try:
        return await outcome
    except BaseException:
        if outcome.cancelled():
            abandoned_at = time.monotonic()
            _ABANDONED.add(thread)
            _ABANDONED.difference_update([each for each in _ABANDONED if not each.is_alive()])
            log.warning("task.thread_abandoned", extra={**facts, "abandoned_threads": len(_ABANDONED)})
        else:
            if outcome.done() and outcome.exception() is None:
                _close(outcome.result())  # The wait was cancelled when the function had just returned.
            del outcome  # It holds the exception of the function, whose traceback holds this frame.
        raise


def _end_of(function: Callable[[], Result], context: Context) -> tuple[Result | None, BaseException | None]:
    """Return what a function returns, or what it raises."""
    try:
        return call_in(context, function), None
    except BaseException as raised:  # noqa: BLE001 -- it is raised again where the outcome is awaited
        return None, raised


def awaited(value: Awaitable[object]) -> Coroutine[Any, Any, object]:
    """Make a coroutine of what a plain function has returned: it wraps an async function."""
    return value if inspect.iscoroutine(value) else _await(value)


async def _await(value: Awaitable[object]) -> object:
    return await value


def _close(value: object) -> None:
    """Close a coroutine that nobody awaits any more."""
    if inspect.iscoroutine(value):
        value.close()


async def to_the_end(running: Coroutine[Any, Any, Result]) -> Result:
    """Wait for what cannot be cancelled, however often this is."""
    body = asyncio.ensure_future(running)
    while not body.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([body])
    return body.result()
