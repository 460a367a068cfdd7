"""A value that all attempts of a process share: opened once, closed at the end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from contextvars import Context
from typing import Final

from lq_core.foundation.event_log import event_log
from lq_core.tasks.provider import Provider

log = event_log()

CLOSE_GRACE: Final = 5.0
"""Seconds that a resource gets to close, before it is cancelled."""


class Resource:
    """
    One value per worker, opened and closed in an asyncio task of its own.

    So the first attempt that asks may be cancelled while others wait, and task groups and cancel scopes are left in
    the asyncio task that entered them.
    """

    def __init__(
        self,
        provider: Provider[object],
        needs: Callable[[], Awaitable[Mapping[str, object]]],
        *,
        surroundings: Context,
        when_open: Callable[["Resource"], None],
    ) -> None:
        self.provider = provider
        self._value: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(needs, when_open), context=surroundings)
        self._keeper.add_done_callback(self._note_end)

    @property
    def has_failed(self) -> bool:
        """Whether it could not be opened."""
        return self._value.done() and (self._value.cancelled() or self._value.exception() is not None)

    async def value(self) -> object:
        """Wait until it is open. Raises the error of the provider."""
        return await asyncio.shield(self._value)

    async def close(self) -> None:
        """Close it, or stop opening it; after ``CLOSE_GRACE`` it is cancelled with a warning."""
        if not self._value.done():
            self._keeper.cancel()
        self._closing.set()
        _, late = await asyncio.wait([self._keeper], timeout=CLOSE_GRACE)
        if late:
            self._keeper.cancel()
            log.warning("resource.not_closed", extra={"provider": self.provider.name, "grace": CLOSE_GRACE})

    def _note_end(self, _: asyncio.Task[None]) -> None:
        """Refuse those who wait for a keeper that was cancelled before it began."""
        if not self._value.done():
            self._value.cancel()

    async def _keep(
        self, needs: Callable[[], Awaitable[Mapping[str, object]]], when_open: Callable[["Resource"], None]
    ) -> None:
        try:
            async with AsyncExitStack() as opened:
                value = await self.provider.enter(opened, await needs())
                when_open(self)
                self._value.set_result(value)
                await self._closing.wait()
        except asyncio.CancelledError:
            self._value.cancel()
        except BaseException as error:
            if self._value.done():
                log.warning("resource.close_failed", extra={"provider": self.provider.name}, exc_info=error)
            else:
                self._value.set_exception(error)
