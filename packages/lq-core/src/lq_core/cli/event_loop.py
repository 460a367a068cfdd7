"""The event loop of one command: the one in which its configuration is made, so that both may share connections."""

import asyncio
import inspect
from collections.abc import Awaitable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar, cast

import click

from lq_core.service import QueueService

Answer = TypeVar("Answer")

_RUNNER: Final = "lq.runner"
"""The key in click's ``meta``."""


def run_in_loop(coroutine: Coroutine[Any, Any, Answer]) -> Answer:
    """Run a coroutine in the event loop of this command, as ``asyncio.run`` does; the loop stays until its end."""
    context = click.get_current_context()
    if _RUNNER not in context.meta:
        context.meta[_RUNNER] = context.find_root().with_resource(asyncio.Runner())
    runner: asyncio.Runner = context.meta[_RUNNER]
    return runner.run(coroutine)


def finished(made: object) -> object:
    """Return what a function has made: of an awaitable its result, of an async context manager what it yields."""
    if inspect.isawaitable(made):
        made = run_in_loop(_awaited(made))
    if isinstance(made, AbstractAsyncContextManager) and not isinstance(made, QueueService):
        manager = cast("AbstractAsyncContextManager[object]", made)
        made = run_in_loop(_awaited(manager.__aenter__()))
        close = click.get_current_context().find_root().call_on_close
        _ = close(lambda: run_in_loop(_awaited(manager.__aexit__(None, None, None))))
    return made


async def _awaited(made: Awaitable[Answer]) -> Answer:
    return await made
