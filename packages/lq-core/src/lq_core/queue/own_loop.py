"""Keeps a queue backend to one event loop at a time, because nothing in it is safe from other threads."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import wraps
from threading import get_ident
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar
from weakref import WeakSet

from lq_core.foundation.errors import ConfigurationError
from lq_core.tasks.context import current_loop

Owner = TypeVar("Owner")
Answer = TypeVar("Answer")
Parameters = ParamSpec("Parameters")


_ALL: Final[WeakSet["OwnLoop"]] = WeakSet()


class OwnLoop:
    """
    The event loop that a queue backend belongs to: the first one that calls it, as long as that one runs.

    With *any_loop*, it may be any one at any time.
    """

    def __init__(self, *, any_loop: bool = False) -> None:
        self._any_loop = any_loop
        self._thread: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        _ALL.add(self)

    def forget_thread(self) -> None:
        """Look again which event loop runs here: in a forked child, the own loop does not."""
        self._thread = None

    def check(self) -> None:
        """Raise ConfigurationError in another event loop while the own one runs."""
        if get_ident() != self._thread:  # To look for the running event loop each time takes longer.
            self._enter()

    def call(self, callback: Callable[[], None]) -> None:
        """Call *callback* in the own event loop: at once, or soon if this is another thread."""
        if self._loop is None or get_ident() == self._thread or not self._loop.is_running():
            callback()
        else:
            self._loop.call_soon_threadsafe(callback)

    def _enter(self) -> None:
        if self._any_loop:
            return
        loop = current_loop()
        if loop is None:  # The coroutine is only made here, and awaited later.
            return
        if self._loop is not None and self._loop.is_running():
            raise ConfigurationError(
                "This queue backend belongs to another event loop, which runs in another thread or in the process "
                "before a fork. Hand the call to that loop with asyncio.run_coroutine_threadsafe(...), or open a new "
                "QueueService here."
            )
        self._loop, self._thread = loop, get_ident()


Method: TypeAlias = Callable[Concatenate[Owner, Parameters], Coroutine[Any, Any, Answer]]


def in_own_loop(
    method: Method[Owner, Parameters, Answer], own_loop: Callable[[Owner], OwnLoop]
) -> Method[Owner, Parameters, Answer]:
    """Wrap a method so that it refuses a call in another event loop."""

    @wraps(method)
    def checked(self: Owner, *args: Parameters.args, **options: Parameters.kwargs) -> Coroutine[Any, Any, Answer]:
        own_loop(self).check()  # Another coroutine around this one would cost more than the check.
        return method(self, *args, **options)

    return checked


def _forget_threads() -> None:
    for one in _ALL:
        one.forget_thread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
