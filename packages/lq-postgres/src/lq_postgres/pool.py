"""
A pool that hands a connection on by itself: no task, no timer and no round trip stands between two statements.

``asyncpg.Pool`` needs a tenth of a millisecond for that, a third of what it takes to store a record.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from time import monotonic
from types import TracebackType
from typing import Final

from asyncpg.exceptions import InterfaceError, PostgresError

from lq_postgres.driver import Connection

LONGEST_IDLE: Final = 300.0
"""Seconds after which an idle connection is not used any more: what lies between may have forgotten it."""

FAREWELL: Final = 5.0
"""Seconds that a statement which nobody waits for any more may take to be cancelled."""

PARTING: Final = 1.0
"""Seconds that closing the pool waits for such statements."""


class OwnPool:
    """Lends at most *most* connections that *connect* opens; whichever came back last is lent first."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], *, most: int) -> None:
        self._connect = connect
        self._most = most
        self._places = asyncio.Semaphore(most)
        self._open = set[Connection]()
        self._idle = deque[tuple[float, Connection]]()
        self._leaving = set[asyncio.Task[None]]()
        self._is_over = False

    def acquire(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection. Raises TimeoutError when none comes back within *timeout* seconds."""
        return _Loan(self, timeout)

    async def take(self, timeout: float | None) -> Connection:
        """Find or open a connection, for a loan."""
        if self._places.locked():
            async with asyncio.timeout(timeout):
                _ = await self._places.acquire()
        else:
            _ = await self._places.acquire()
        try:
            connection = self._take() or await self._connect()
        except BaseException:
            self._places.release()
            raise
        self._open.add(connection)
        return connection

    def give_back(self, connection: Connection, *, after: BaseException | None, since: float) -> None:
        """Take a connection back from a loan, which an error may have ended; *since* is when the loan began."""
        if after is None or isinstance(after, PostgresError):
            self._give_back(connection)
        else:
            self._let_go(connection)  # It may be in the middle of something.
        if after is not None and (isinstance(after, OSError) or connection.is_closed()):
            self._distrust(since)
        self._places.release()

    async def close(self) -> None:
        """Wait a moment for what is being closed in good order, and close all others without a word."""
        if self._leaving:
            _ = await asyncio.wait(self._leaving, timeout=PARTING)
        self.terminate()

    def terminate(self) -> None:
        """Close all connections without a word."""
        self._is_over = True
        for connection in self._open:
            connection.terminate()
        self._open.clear()
        self._idle.clear()

    def get_size(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def get_idle_size(self) -> int:
        """How many of them are not lent."""
        return len(self._idle)

    def get_max_size(self) -> int:
        """How many there may be."""
        return self._most

    def _take(self) -> Connection | None:
        while self._idle and self._idle[0][0] < monotonic() - LONGEST_IDLE:
            self._let_go(self._idle.popleft()[1])
        while self._idle:
            _, connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open.discard(connection)
        return None

    def _distrust(self, since: float) -> None:
        """Let go of what was not used since: the network or the server that took one away has taken these as well."""
        while self._idle and self._idle[0][0] < since:
            self._let_go(self._idle.popleft()[1])

    def _give_back(self, connection: Connection) -> None:
        if self._is_over:
            connection.terminate()
        if connection.is_closed():
            self._open.discard(connection)
        else:
            self._idle.append((monotonic(), connection))

    def _let_go(self, connection: Connection) -> None:
        leaving = asyncio.create_task(self._close(connection))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _close(self, connection: Connection) -> None:
        with suppress(OSError, PostgresError, InterfaceError):
            await connection.close(timeout=FAREWELL)  # This also ends what it is doing.
        self._open.discard(connection)


class _Loan:
    """One connection, lent for a while; a class, since a generator would cost as much again as what it does."""

    __slots__ = ("_connection", "_pool", "_since", "_timeout")

    def __init__(self, pool: OwnPool, timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout

    async def __aenter__(self) -> Connection:
        self._connection = await self._pool.take(self._timeout)
        self._since = monotonic()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.give_back(self._connection, after=error, since=self._since)
