"""The connections of one backend: its own pool, or one that the application lends."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from lq_core.errors import StorageError
from lq_postgres.config import PostgresConfig, for_asyncpg, without_secrets
from lq_postgres.driver import Connection, Pool, Row, connect
from lq_postgres.faults import told_as_storage_errors
from lq_postgres.insertion import Fetch
from lq_postgres.pool import OwnPool
from lq_postgres.statements.writing import for_schema

# Plans that do not look at the parameters are made once, and are good for these statements; planning anew, or
# compiling, would take longer than running them. But a plan that is made while the table is small reads it whole, and
# would go on to do so: so each finds its index. A wait for a lock that a user's transaction holds is bounded, and so
# is the time for which a process that stands still keeps its locks from the others.
SESSION: Final[Mapping[str, str]] = {
    "application_name": "lq",
    "jit": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "lock_timeout": "5s",
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": "5s",
}

WHOLE: Final = 20
"""So many times longer than any other may a statement take that reads the whole table."""


class Connections:
    """Lends connections, and runs statements on one that is lent for just that."""

    def __init__(self, config: PostgresConfig) -> None:
        self.config = config
        self._pool: Pool | None = None

    @property
    def address(self) -> str:
        """Where the database is, without secrets."""
        where = "an application's pool" if self.config.pool is not None else without_secrets(self.config.dsn or "libpq")
        return f"{where} (schema {self.config.schema})"

    @property
    def pool(self) -> Pool:
        """The open pool; raises StorageError when there is none."""
        if self._pool is None:
            raise StorageError("The PostgreSQL queue backend is not open. Open the QueueService that uses it first.")
        return self._pool

    async def open(self) -> None:
        """Connect; opening twice does no harm."""
        if self._pool is not None:
            return
        config = self.config
        if config.pool is not None:
            self._pool = config.pool
            return
        pool = OwnPool(self._connect, most=config.max_connections)
        try:
            with told_as_storage_errors:
                async with AsyncExitStack() as opening:
                    for _ in range(config.min_connections):
                        _ = await opening.enter_async_context(pool.acquire())
        except BaseException as error:
            pool.terminate()
            if isinstance(error, StorageError):
                raise StorageError(f"{error} (at {self.address})") from error.__cause__
            raise
        self._pool = pool

    async def close(self) -> None:
        """Disconnect, unless the pool belongs to the application."""
        pool, self._pool = self._pool, None
        if isinstance(pool, OwnPool):
            await pool.close()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Be connected for a while; what was connected before stays so."""
        was_open = self._pool is not None
        await self.open()
        try:
            yield
        finally:
            if not was_open:
                await self.close()

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[Connection]:
        """Borrow a connection; what goes wrong with it is a StorageError."""
        pool = self.pool
        with told_as_storage_errors:
            async with pool.acquire(timeout=self.config.connect_timeout) as connection:
                yield connection

    async def fetch(self, sql: str, *parameters: object, times: int = 1) -> Sequence[Row]:
        """Run one statement, in a transaction of its own; it may take so many *times* the command timeout."""
        sql = for_schema(sql, self.config.schema)
        timeout = times * self.config.command_timeout
        with told_as_storage_errors:  # As `lent` does, which is a generator, and takes longer.
            async with self.pool.acquire(timeout=self.config.connect_timeout) as connection:
                if self.config.statement_cache:
                    return await connection.fetch(sql, *parameters, timeout=timeout)
                # Without a name, a statement is prepared and run in two steps; PgBouncer keeps them together only so.
                async with self._transaction_on(connection, times=times):
                    return await connection.fetch(sql, *parameters, timeout=timeout)

    @asynccontextmanager
    async def transaction(self, *, times: int = 1) -> AsyncGenerator[Fetch]:
        """
        Run statements in one transaction; each sees what others have committed by then.

        Each may take the command timeout, or so many *times* as long.
        """
        timeout = times * self.config.command_timeout

        async def fetch(sql: str, /, *parameters: object) -> Sequence[Row]:
            return await connection.fetch(for_schema(sql, self.config.schema), *parameters, timeout=timeout)

        async with self.lent() as connection, self._transaction_on(connection, times=times):
            yield fetch

    @asynccontextmanager
    async def _transaction_on(self, connection: Connection, *, times: int = 1) -> AsyncGenerator[None]:
        # The driver lets a pool that is lent to us say how long BEGIN, COMMIT and ROLLBACK may take: perhaps for ever.
        timeout = self.config.command_timeout
        async with asyncio.timeout(timeout) as limit, connection.transaction(isolation="read_committed"):
            limit.reschedule(asyncio.get_running_loop().time() + (times + 1) * timeout)
            yield

    async def read_whole(self, sql: str, *parameters: object) -> Sequence[Row]:
        """Run a statement that is to read the whole table, which others may not."""
        async with self.transaction(times=WHOLE) as fetch:
            _ = await fetch("SET LOCAL enable_seqscan = on")
            return await fetch(sql, *parameters)

    @asynccontextmanager
    async def to_listen(self) -> AsyncGenerator[Connection]:
        """Open a connection to listen on: beside our own pool, or out of the one that we are lent."""
        config = self.config
        if config.pool is not None and config.listen_dsn is None:
            async with self.lent() as connection:
                try:
                    yield connection
                finally:
                    # Nobody shall be lent a connection that listens, and one that is dead cannot be told to stop.
                    connection.terminate()
            return
        with told_as_storage_errors:
            connection = await connect(
                for_asyncpg(config.listen_dsn or config.dsn),
                ssl=config.ssl,
                connect_timeout=config.connect_timeout,
                command_timeout=config.command_timeout,
                statement_cache=False,
                settings={"application_name": "lq (listening)"} if config.statement_cache else {},
            )
            try:
                yield connection
            finally:
                connection.terminate()

    def _connect(self) -> Awaitable[Connection]:
        config = self.config
        return connect(
            for_asyncpg(config.dsn),
            ssl=config.ssl,
            connect_timeout=config.connect_timeout,
            command_timeout=config.command_timeout,
            statement_cache=config.statement_cache,
            settings=dict(SESSION) if config.statement_cache else {},
        )
