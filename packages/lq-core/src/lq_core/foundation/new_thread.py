"""Calls that block, each in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import ParamSpec, TypeVar

Answer = TypeVar("Answer")
Parameters = ParamSpec("Parameters")


async def in_new_thread(
    function: Callable[Parameters, Answer], *args: Parameters.args, **options: Parameters.kwargs
) -> Answer:
    """
    Call a function in a new thread, with the context variables of the caller, and return what it returns.

    Unlike ``asyncio.to_thread``, this never waits for a free thread: tasks may have taken them all, for ever.
    """
    return await open_in_new_thread(partial(function, *args, **options), close=lambda _: None)


async def open_in_new_thread(function: Callable[[], Answer], *, close: Callable[[Answer], object]) -> Answer:
    """Do the same for a function that opens something; *close* it if the caller is cancelled meanwhile."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Answer] = loop.create_future()
    context = copy_context()

    def settle(report: Callable[[], None], undo: Callable[[], object]) -> None:
        if answer.done():
            undo()
        else:
            report()

    def call() -> None:
        undo: Callable[[], object] = lambda: None  # noqa: E731 -- as below
        try:
            opened = call_in(context, function)
            report, undo = partial(answer.set_result, opened), partial(close, opened)
        except BaseException as error:  # noqa: BLE001 -- the caller gets whatever it is
            report = partial(answer.set_exception, error)
        try:
            loop.call_soon_threadsafe(settle, report, undo)
        except RuntimeError:  # The event loop has ended.
            undo()

    threading.Thread(target=call, daemon=True).start()
    try:
        return await answer
    except asyncio.CancelledError:
        if not answer.cancelled() and answer.done() and answer.exception() is None:
            close(answer.result())
        raise


def call_in(context: Context, function: Callable[[], Answer]) -> Answer:
    """Call a function with context variables; a RuntimeError stands for what would end more than a task of the loop."""
    try:
        return context.run(function)
    except (StopIteration, KeyboardInterrupt, GeneratorExit) as stopped:
        raise RuntimeError(f"The function raised {stopped!r}") from None
