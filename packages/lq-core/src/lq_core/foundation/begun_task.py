"""Starts coroutines whose ``finally`` always runs, also when they are cancelled before their first turn."""

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import TypeVar

Value = TypeVar("Value")


@coroutine
def first_turn() -> Generator[None, None, None]:
    """Wait for the first turn; a coroutine for :func:`begin` awaits this first, inside its ``try``."""
    yield


def begin(loop: asyncio.AbstractEventLoop, running: Coroutine[None, None, Value]) -> asyncio.Task[Value]:
    """
    Make an asyncio task of a coroutine that awaits :func:`first_turn` first.

    The event loop never begins a coroutine that is cancelled at once. To begin it here is cheaper than a callback at
    the end of each asyncio task.
    """
    running.send(None)
    return loop.create_task(running)
