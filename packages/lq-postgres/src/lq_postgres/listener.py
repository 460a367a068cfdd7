"""
Hears the wake-ups of other processes, and knows when it does not.

It listens on a connection of its own, looks now and then whether that is still alive (a connection whose other end has
vanished looks healthy for ever), and starts again when it is not. Polling goes on without it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from random import uniform
from typing import Final

from lq_core.errors import StorageError
from lq_core.event_log import event_log
from lq_postgres.driver import Connection
from lq_postgres.insertion import Fetch
from lq_postgres.statements.versions import NOTIFY

log = event_log("lq.postgres")

PROBE_TIMEOUT: Final = 5.0
LONGEST_WAIT: Final = 10.0
"""The longest wait in seconds before listening is tried again."""

DEAF_WAIT: Final = 60.0
"""The same, where notifications do not arrive at all, as behind PgBouncer in transaction mode."""

DEAF: Final = (
    "Notifications do not arrive here, as behind PgBouncer in transaction mode. "
    "Give the server's own address as PostgresConfig(listen_dsn=...), or set poll_only=True."
)


class Listener:
    """
    Calls *heard* for every wake-up of another process on *channel*, and whenever some may have been missed.

    It listens on a connection that *connect* opens; *tell* runs a statement on any other.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Connection]],
        *,
        tell: Fetch,
        channel: str,
        origin: str,
        heard: Callable[[], None],
        probe_interval: float,
    ) -> None:
        self.up = False
        """Whether wake-ups arrive now."""
        self._connect = connect
        self._tell = tell
        self._channel = channel
        self._origin = origin
        self._heard = heard
        self._probe_interval = probe_interval
        self._echo = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._channel} {'up' if self.up else 'down'}>"

    @property
    def is_needed(self) -> bool:
        """Whether somebody has asked it to listen."""
        return self._task is not None

    def start(self) -> None:
        """Begin to listen, in the background; starting twice does no harm."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_listening(), name="lq.postgres.listener")

    async def stop(self) -> None:
        """Listen no more."""
        task, self._task = self._task, None
        if task is not None:
            _ = task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def try_out(self) -> bool:
        """Listen for a moment, on a connection for just that, and tell whether notifications arrive."""
        async with self._connect() as connection:
            return await self._hears(connection)

    async def _keep_listening(self) -> None:
        failures = 0
        while True:
            heard_well = False
            try:
                heard_well = await self._listen()
            except StorageError as error:
                log.warning("listener.down", extra={"channel": self._channel, "reason": str(error)})
            failures = 1 if heard_well else failures + 1
            wait = min(0.2 * 2**failures, LONGEST_WAIT) * uniform(0.5, 1.0)  # noqa: S311 -- spreads the load
            await asyncio.sleep(wait)

    async def _listen(self) -> bool:
        """Listen until the connection ends; False when notifications never arrived."""
        ended = asyncio.Event()
        try:
            async with self._connect() as connection:
                connection.add_termination_listener(lambda _: ended.set())
                if not await self._hears(connection):
                    log.warning("listener.deaf", extra={"channel": self._channel, "advice": DEAF})
                    await asyncio.sleep(DEAF_WAIT)
                    return False
                self.up = True
                log.info("listener.up", extra={"channel": self._channel})
                self._heard()
                while not await _within(ended, self._probe_interval):
                    _ = await connection.fetch("SELECT 1", timeout=min(PROBE_TIMEOUT, self._probe_interval))
                log.warning("listener.down", extra={"channel": self._channel, "reason": "the connection has ended"})
                return True
        finally:
            self.up = False

    async def _hears(self, connection: Connection) -> bool:
        self._echo.clear()
        async with asyncio.timeout(PROBE_TIMEOUT):
            await connection.add_listener(self._channel, self._on_notification)
        # By another connection: PgBouncer may let this one hear itself, and nobody else.
        _ = await self._tell(NOTIFY, self._channel, f"?{self._origin}")
        return await _within(self._echo, PROBE_TIMEOUT)

    def _on_notification(self, _connection: object, _process: int, _channel: str, payload: str) -> None:
        if payload == f"?{self._origin}":
            self._echo.set()
        elif payload != self._origin and not payload.startswith("?"):
            self._heard()


async def _within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
