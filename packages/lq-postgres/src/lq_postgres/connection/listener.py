"""
Hears the wake-ups of other processes, on a connection of its own.

It checks the connection regularly, because a connection whose other end has vanished looks healthy. It reconnects after
a failure. Meanwhile, polling finds the work.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import uniform
from typing import Final

from lq_core.foundation.errors import StorageError
from lq_core.foundation.event_log import event_log
from lq_postgres.connection.connections import Connections
from lq_postgres.connection.crowd import Crowd
from lq_postgres.connection.driver import Connection
from lq_postgres.statements.versions import IS_READ_ONLY, NOTIFY

log = event_log("lq.postgres")

PROBE_TIMEOUT: Final = 5.0
LONGEST_WAIT: Final = 10.0
"""The longest pause in seconds before the next attempt to listen."""

DEAF_WAIT: Final = 60.0
"""The pause in seconds if notifications do not arrive at all."""

DEAF: Final = (
    "Notifications do not arrive, for example because of PgBouncer in transaction mode. "
    "Set PostgresConfig(listen_dsn=...) to the server's own address, or set poll_only=True."
)


class Listener:
    """Listens on the channel that has the name of the schema, and passes to *crowd* what it hears."""

    def __init__(self, connections: Connections, crowd: Crowd) -> None:
        self.up = False
        """Whether notifications arrive now."""
        self._connections = connections
        self._channel = connections.config.schema
        self._crowd = crowd
        crowd.heard_probe = asyncio.Event()  # Each opening may be in another event loop.
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._channel} {'up' if self.up else 'down'}>"

    def start(self, heard: Callable[[], None]) -> None:
        """Listen in the background, and call *heard* to look for work; a second start has no effect."""
        if self._task is None:
            self._crowd.listen(heard)
            self._task = asyncio.create_task(self._keep_listening(), name="lq.postgres.listener")

    async def stop(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        self._crowd.rest()
        if task is not None:
            _ = task.cancel()
            _ = await asyncio.wait([task])

    async def try_out(self) -> bool:
        """Check whether notifications arrive; if it has not been started, check on a new connection."""
        if self._task is not None:
            return self.up
        async with self._connections.to_listen() as connection:
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
        """Listen until the connection ends; return False if notifications never arrived."""
        interval = self._connections.config.probe_interval
        ended = asyncio.Event()
        try:
            async with self._connections.to_listen() as connection:
                connection.add_termination_listener(lambda _: ended.set())
                if not await self._hears(connection):
                    log.warning("listener.deaf", extra={"channel": self._channel, "advice": DEAF})
                    await asyncio.sleep(DEAF_WAIT)
                    return False
                self.up = True
                log.info("listener.up", extra={"channel": self._channel})
                self._crowd.look()
                reason = "the connection has ended"
                while not await _within(ended, interval):
                    [[is_read_only]] = await connection.fetch(IS_READ_ONLY, timeout=min(PROBE_TIMEOUT, interval))
                    if is_read_only:
                        reason = "the server is read-only: another one may be the primary now"
                        break
                log.warning("listener.down", extra={"channel": self._channel, "reason": reason})
                return True
        finally:
            self.up = False

    async def _hears(self, connection: Connection) -> bool:
        self._crowd.heard_probe.clear()
        async with asyncio.timeout(PROBE_TIMEOUT):
            await connection.add_listener(self._channel, self._on_notification)
        # Another connection sends the probe: behind PgBouncer, a connection may hear only itself.
        _ = await self._connections.fetch(NOTIFY, self._channel, self._crowd.probe)
        return await _within(self._crowd.heard_probe, PROBE_TIMEOUT)

    def _on_notification(self, _connection: object, _process: int, _channel: str, payload: str) -> None:
        self._crowd.hear(payload)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
