"""
The connections of one backend: from its own pool, or from a pool of the application.

What lq does by itself, such as claims and heartbeats, never waits for a connection of the application: see ``own``.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import cast

from lq_core.foundation.errors import StorageError
from lq_postgres.connection.config import PostgresConfig, without_secrets
from lq_postgres.connection.driver import Connection, Describes, Fetch, Pool, Row, Statement
from lq_postgres.connection.faults import NotifyQueueFullError, ReadOnlyServerError, storage_errors
from lq_postgres.connection.lent_pool import (
    connect_as,
    keeps_statements,
    open_lent,
    reads_as_asyncpg_does,
    replace_connections,
)
from lq_postgres.connection.notifier import Notifier, without_channel
from lq_postgres.connection.opening import Opener
from lq_postgres.connection.pool import OwnPool
from lq_postgres.connection.session import WHOLE, WHOLE_PLANS, begin
from lq_postgres.connection.session import beginning as beginning_for
from lq_postgres.statements.writing import for_schema


class Connections:
    """Lends connections, and runs statements."""

    def __init__(self, config: PostgresConfig) -> None:
        self.config = config
        self.notifier = Notifier(config.schema, notify=config.notify)
        self._opener = Opener(config)
        self._pool: Pool | None = None
        self.own = self if config.pool is None else Connections(_beside(config, config.pool))
        """The connections for what lq does by itself: these, or others beside the pool of the application."""

        self.own.notifier = self.notifier
        self._described: dict[object, dict[str, Statement]] = {}
        """The statements of each connection whose session cannot keep them."""

    @property
    def address(self) -> str:
        """The address of the database, without secrets."""
        config = self.config
        where = (
            "an application's pool"
            if config.pool is not None
            else "an application's connection"
            if config.connect is not None
            else without_secrets(config.dsn or "libpq")
        )
        return f"{where} (schema {config.schema})"

    @property
    def pool(self) -> Pool:
        """The open pool; raises StorageError if it is not open."""
        if self._pool is None:
            raise StorageError("The PostgreSQL queue backend is not open. Open the QueueService that uses it first.")
        return self._pool

    async def open(self) -> None:
        """Connect, unless connected already."""
        if self._pool is not None:
            return
        config = self.config
        if config.pool is not None:
            with storage_errors:
                await open_lent(config.pool)
                is_plain = await reads_as_asyncpg_does(config.pool, timeout=config.connect_timeout)
            await self.own.open()
            self._pool = config.pool if is_plain else self.own.pool
            return
        pool = OwnPool(self._opener.open, fewest=config.min_connections, most=config.max_connections)
        try:
            with storage_errors:
                async with AsyncExitStack() as opening:
                    for _ in range(config.min_connections):
                        _ = await opening.enter_async_context(pool.acquire(timeout=config.connect_timeout))
        except BaseException as error:
            pool.terminate()
            if isinstance(error, StorageError):
                message = f"{error} (at {self.address})"
                raise StorageError(message, is_permanent=error.is_permanent) from error.__cause__
            raise
        if self._pool is not None:  # Another caller has opened it meanwhile.
            await pool.close()
            return
        self._pool = pool

    async def close(self) -> None:
        """Disconnect; a pool of the application stays open."""
        pool, self._pool = self._pool, None
        if self.own is not self:
            await self.own.close()
        elif isinstance(pool, OwnPool):
            await pool.close()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Connect, and afterwards disconnect if this has connected."""
        was_open = self._pool is not None
        await self.open()
        try:
            yield
        finally:
            if not was_open:
                await self.close()

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[Connection]:
        """Lend a connection, and raise StorageError for its errors."""
        pool = self.pool
        with storage_errors:
            async with pool.acquire(timeout=self.config.connect_timeout) as connection:
                yield connection

    async def fetch(self, sql: str, *parameters: object, times: int = 1) -> Sequence[Row]:
        """Run a statement in its own transaction; it may take *times* command timeouts."""
        try:
            return await self._fetch(sql, parameters, times)
        except NotifyQueueFullError:
            self.notifier.pause()
            parameters = without_channel(parameters)
        except ReadOnlyServerError:  # Nothing was done, and the next connection may lead to another server.
            await self._replace_lent()
        return await self._fetch(sql, parameters, times)

    async def _fetch(self, sql: str, parameters: tuple[object, ...], times: int) -> Sequence[Row]:
        sql = for_schema(sql, self.config.schema)
        timeout = times * self.config.command_timeout
        with storage_errors:  # `lent` does the same, but as a generator it is slower.
            async with self.pool.acquire(timeout=self.config.connect_timeout) as connection:
                if self._opener.keeps_sessions:
                    return await connection.fetch(sql, *parameters, timeout=timeout)
                async with self._transaction_on(connection):  # It has the settings.
                    return await self._run(connection, sql, parameters, timeout)

    async def _run(
        self, connection: Connection, sql: str, parameters: tuple[object, ...], timeout: float
    ) -> Sequence[Row]:
        """Run a statement in an open transaction."""
        if self._opener.keeps_sessions or self.config.pool is not None:
            return await connection.fetch(sql, *parameters, timeout=timeout)
        # asyncpg describes such a statement once, and later sends it with its parameters in one step.
        if (described := self._described.get(connection)) is None:
            described = self._described[connection] = {}
            connection.add_termination_listener(self._forget)
        if (statement := described.get(sql)) is None:
            # Without its name, asyncpg 0.30 would give it one, which other sessions of PgBouncer do not know.
            describing = cast("Describes", connection).prepare(sql, name="", timeout=timeout)
            statement = described[sql] = await describing
        return await statement.fetch(*parameters, timeout=timeout)

    def _forget(self, connection: object) -> None:
        _ = self._described.pop(connection, None)

    @asynccontextmanager
    async def transaction(self, *, times: int = 1, first: str = "") -> AsyncGenerator[Fetch]:
        """
        Run statements in one transaction, read committed; each may take *times* command timeouts.

        The statement *first*, without parameters and without an answer, is sent with the beginning of the transaction.
        """
        timeout = times * self.config.command_timeout

        async def fetch(sql: str, /, *parameters: object) -> Sequence[Row]:
            return await self._run(connection, for_schema(sql, self.config.schema), parameters, timeout)

        try:
            async with self.lent() as connection, self._transaction_on(connection, first=first):
                yield fetch
        except NotifyQueueFullError:
            self.notifier.pause()
            raise
        except ReadOnlyServerError:
            await self._replace_lent()
            raise

    async def _replace_lent(self) -> None:
        if self.config.pool is not None:  # A pool of lq has replaced its connections already.
            await replace_connections(self.config.pool)

    def _transaction_on(self, connection: Connection, *, first: str = "") -> "_Transaction":
        timeout = self.config.command_timeout
        if self._opener.keeps_sessions:
            beginning = begin({})
        else:
            beginning = beginning_for(connection.get_server_version()[0], command_timeout=timeout)
        return _Transaction(connection, beginning + for_schema(first, self.config.schema), timeout)

    async def read_whole(self, sql: str, *parameters: object) -> Sequence[Row]:
        """Run a statement that reads the whole table on purpose."""
        async with self.transaction(times=WHOLE) as fetch:
            _ = await fetch(WHOLE_PLANS)
            return await fetch(sql, *parameters)

    async def fetch_apart(self, sql: str, *parameters: object) -> Sequence[Row]:
        """
        Run a statement on a new connection, in any event loop, and close the connection.
        """
        config = self.config
        with storage_errors:
            connection = await self._opener.open_apart()
            try:
                async with self._transaction_on(connection):
                    timeout = config.command_timeout
                    return await connection.fetch(for_schema(sql, config.schema), *parameters, timeout=timeout)
            finally:
                await connection.close(timeout=config.connect_timeout)

    @asynccontextmanager
    async def to_listen(self) -> AsyncGenerator[Connection]:
        """Open a connection to listen on."""
        with storage_errors:
            connection = await self._opener.open_to_listen()
            try:
                yield connection
            finally:
                connection.terminate()  # A dead connection cannot be told to stop.


class _Transaction:
    """A transaction of one connection; this is a class because a generator would double its cost."""

    __slots__ = ("_beginning", "_connection", "_timeout")

    def __init__(self, connection: Connection, beginning: str, timeout: float) -> None:
        self._connection = connection
        self._beginning = beginning
        self._timeout = timeout

    async def __aenter__(self) -> None:
        try:
            _ = await self._connection.execute(self._beginning, timeout=self._timeout)
        except BaseException:
            await self._roll_back()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await self._roll_back()
        else:
            _ = await self._connection.execute("COMMIT", timeout=self._timeout)

    async def _roll_back(self) -> None:
        if not self._connection.is_closed():
            _ = await self._connection.execute("ROLLBACK", timeout=self._timeout)


def _beside(config: PostgresConfig, pool: Pool) -> PostgresConfig:
    keeps = config.statement_cache and keeps_statements(pool)
    return replace(config, pool=None, connect=connect_as(pool), min_connections=0, statement_cache=keeps)
