"""Tells a cancellation of this asyncio task from one that only passes through it."""

import asyncio


def raise_if_cancelled(error: BaseException) -> None:
    """
    Raise *error* again if it is a CancelledError with which somebody has cancelled the current asyncio task.

    Otherwise something that it awaited was cancelled, for example by a task of the application that cancels every
    asyncio task that it finds, and a loop of lq goes on.
    """
    current = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and (current is None or current.cancelling()):
        raise error
