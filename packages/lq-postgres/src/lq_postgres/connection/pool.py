"""
A pool that hands a connection on without a task, a timer or a round trip between two statements.

``asyncpg.Pool`` takes a tenth of a millisecond for this, a third of the time to store a record.

It opens few connections: a caller first waits a moment for one that is in use. It closes those that the last seconds
did not need. If the server refuses further connections, callers wait for those that are open.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from math import inf
from random import uniform
from time import monotonic
from types import TracebackType
from typing import Final

from asyncpg.exceptions import InterfaceError, PostgresError

from lq_postgres.connection.driver import Connection
from lq_postgres.connection.faults import refuses_connections, spoils, sqlstate_of

LONGEST_IDLE: Final = 300.0
"""Seconds after which an idle connection is closed, because the network may have dropped it."""

PATIENCE: Final = 0.02
"""Seconds that a caller waits for a connection that is in use before the pool opens another one."""

REFUSED_PAUSE: Final = 0.1
"""Seconds between two attempts to connect while the server refuses connections."""

SHRINK_INTERVAL: Final = 5.0
"""Seconds after which the pool closes the connections that it did not need in this time."""

CLOSING: Final = 5.0
"""Seconds for a connection to cancel its statement and close."""

PARTING: Final = 1.0
"""Seconds that the pool waits for connections that are being closed."""

CLOSED: Final = "The pool is closed."


class OwnPool:
    """Lends at most *most* connections that *connect* opens, and keeps *fewest* open; lends the last one returned."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], *, fewest: int = 1, most: int) -> None:
        self._connect = connect
        self._fewest = fewest
        self._most = most
        self._open = set[Connection]()
        self._idle = deque[tuple[float, Connection]]()
        self._waiting = OrderedDict[asyncio.Future[Connection | None], None]()
        """The callers that wait, of whom each can leave without a look at the others; None tells one to look again."""

        self._is_opening = False
        self._refusal: Exception | None = None
        """The error of the last attempt to connect, if the server refused it for the number of connections."""

        self._busy = 0.0
        """How many seconds connections were lent since the last look at the size of the pool."""

        self._shrinking: asyncio.TimerHandle | None = None
        self._closing = dict[asyncio.Task[None], Connection]()
        self._is_over = False

    def acquire(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """
        Lend a connection.

        Raises TimeoutError if none is available within *timeout* seconds, or why the server refused to open one.
        """
        return _Loan(self, timeout)

    async def take(self, timeout: float | None) -> Connection:
        """Return an idle connection, or one that another caller returns, or open one."""
        if self._idle and (connection := self._idle_connection()) is not None:
            return connection
        until = inf if timeout is None else monotonic() + timeout
        patience = self._patience()
        while True:
            since = monotonic()
            if (connection := self._idle_connection() or await self._returned(patience, until)) is not None:
                return connection
            if monotonic() >= until:
                raise self._refusal or TimeoutError
            if self._is_opening or len(self._open) >= self._most:
                patience = inf  # The end of the attempt, or of a connection, wakes all that wait.
            elif monotonic() - since < patience and (self._open or self._refusal):
                patience = self._patience()
            elif (connection := await self._opened(until)) is not None:
                return connection
            else:
                patience = self._patience()

    def put_back(self, connection: Connection, *, after: BaseException | None, since: float) -> None:
        """Take a connection back from a loan that began at *since*; *after* is the error that ended the loan."""
        now = monotonic()
        self._busy += now - since
        spoilt = after is not None and spoils(after)
        if spoilt:
            self._close_soon(connection)
        elif self._is_over or connection.is_closed():
            connection.terminate()
            self._forget(connection)
        else:
            self._hand_on(connection, now)
        if after is not None and spoilt and sqlstate_of(after) is not None:
            self._close_idle_since(inf)  # They lead to the same server, for example to a former primary.
        elif after is not None and (isinstance(after, OSError) or connection.is_closed()):
            self._close_idle_since(since)  # The network or the server has probably dropped these too.

    async def close(self) -> None:
        """Wait a moment for the connections that are being closed, and close all others at once."""
        try:
            if self._closing:
                _ = await asyncio.wait(self._closing, timeout=PARTING)
        finally:
            self.terminate()

    def terminate(self) -> None:
        """Close all connections at once."""
        self._is_over = True
        if self._shrinking is not None:
            self._shrinking.cancel()
        for connection in self._open:
            connection.terminate()
        self._open.clear()
        self._idle.clear()
        self._wake_all()

    def get_size(self) -> int:
        """Count the open connections."""
        return len(self._open)

    def get_idle_size(self) -> int:
        """Count the connections that are not in use."""
        return len(self._idle)

    def get_max_size(self) -> int:
        """Return the largest number of connections."""
        return self._most

    # ------------------------------------------------------------ one connection more

    def _patience(self) -> float:
        if self._refusal is not None:
            return REFUSED_PAUSE * uniform(0.5, 1.0)  # noqa: S311 -- spreads the load
        return PATIENCE if self._open or self._is_opening else 0.0

    async def _opened(self, until: float) -> Connection | None:
        """Open a connection, one caller at a time; None if the server refuses more and there is time to wait."""
        if self._is_over:
            raise InterfaceError(CLOSED)
        self._is_opening = True
        try:
            connection = await self._connect()
        except Exception as error:
            if not refuses_connections(error) or monotonic() >= until:
                raise
            self._refusal = error
            return None
        finally:
            self._is_opening = False
            self._wake_all()
        self._refusal = None
        if self._is_over:
            connection.terminate()
            raise InterfaceError(CLOSED)
        self._open.add(connection)
        if len(self._open) > 1 and self._shrinking is None:
            self._busy = 0.0
            self._shrinking = asyncio.get_running_loop().call_later(SHRINK_INTERVAL, self._shrink)
        return connection

    async def _returned(self, patience: float, until: float) -> Connection | None:
        """Wait this long for a connection that another caller returns; None if there is a reason to look again."""
        seconds = min(patience, until - monotonic())
        if seconds <= 0:
            return None
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            async with asyncio.timeout(None if seconds == inf else seconds):
                return await waiter
        except TimeoutError:
            return waiter.result() if waiter.done() and not waiter.cancelled() else None
        except BaseException:  # A cancellation, or SystemExit.
            if waiter.done() and not waiter.cancelled() and (connection := waiter.result()) is not None:
                self._hand_on(connection, monotonic())
            raise
        finally:
            self._waiting.pop(waiter, None)

    def _hand_on(self, connection: Connection, now: float) -> None:
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append((now, connection))

    def _wake_all(self) -> None:
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_result(None)

    # ------------------------------------------------------------ one connection less

    def _idle_connection(self) -> Connection | None:
        if self._idle and self._idle[0][0] < (before := monotonic() - LONGEST_IDLE):
            self._close_idle_since(before)
        while self._idle:
            _, connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._forget(connection)
        return None

    def _shrink(self) -> None:
        """Close idle connections, unless the last seconds kept that many busy for a quarter of the time each."""
        needed = max(self._fewest, 1 + int(4 * self._busy / SHRINK_INTERVAL))
        self._busy = 0.0
        while self._idle and len(self._open) - len(self._closing) > needed:
            self._close_soon(self._idle.popleft()[1])
        self._shrinking = None
        if len(self._open) > 1:
            self._shrinking = asyncio.get_running_loop().call_later(SHRINK_INTERVAL, self._shrink)

    def _close_idle_since(self, moment: float) -> None:
        while self._idle and self._idle[0][0] < moment:
            self._close_soon(self._idle.popleft()[1])

    def _close_soon(self, connection: Connection) -> None:
        closing = asyncio.create_task(_close(connection))
        self._closing[closing] = connection
        closing.add_done_callback(self._note_closed)

    def _note_closed(self, closing: asyncio.Task[None]) -> None:
        """Forget a connection; one whose asyncio task was cancelled may be open still."""
        connection = self._closing.pop(closing)
        connection.terminate()
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._wake_all()


async def _close(connection: Connection) -> None:
    with suppress(OSError, PostgresError, InterfaceError):
        await connection.close(timeout=CLOSING)  # This also cancels its statement.


class _Loan:
    """One borrowed connection; this is a class because a generator would double its cost."""

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
        self._pool.put_back(self._connection, after=error, since=self._since)
