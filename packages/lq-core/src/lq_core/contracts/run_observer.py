"""Observes from outside whether a function runs: the function holds a connection to the suite while it runs."""

import asyncio
from contextlib import suppress
from typing import Final, Self

START_LIMIT: Final = 60.0
"""Seconds within which an executor must start the function."""


class Witness:
    """Listens on a port of this machine for one function, which may run in any process."""

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._began = asyncio.Event()
        self._over = asyncio.Event()
        self._released = False
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that the function connects to."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def begun(self) -> None:
        """Wait until the function runs. Raises TimeoutError."""
        async with asyncio.timeout(START_LIMIT):
            await self._began.wait()

    async def over(self) -> bool:
        """Wait until the function or its process has ended; False if that takes longer than the patience."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._over.wait()
        return self._over.is_set()

    @property
    def is_over(self) -> bool:
        """Whether the function or its process has ended."""
        return self._over.is_set()

    def release(self) -> None:
        """Make the function return, also if it starts later."""
        self._released = True
        if self._writer is not None:
            self._writer.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._seen, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.release()
        if self._server is not None:
            self._server.close()

    async def _seen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._began.set()
        if self._released:
            writer.close()
        with suppress(ConnectionError):  # A process that was killed resets its connection.
            await reader.read()
        self._over.set()
        writer.close()
