"""A pool of the application: it runs what the application calls, and shows how lq opens connections of its own."""

import asyncio
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Any, Final
from uuid import UUID

import asyncpg

from lq_core.foundation.errors import ConfigurationError
from lq_postgres.connection.driver import Connect, Connection, Pool

_SOURCES: Final = ("_connect", "_connect_args", "_connect_kwargs")
"""How a pool of asyncpg opens its connections; it has no public way to open one more."""

_ID: Final = UUID(int=1)
_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)
_VALUES: Final = (_ID, _MOMENT, [_ID], [_MOMENT], "text", True, 1, 0.5)
_PROBE: Final = """
SELECT $1::uuid, $2::timestamptz, $3::uuid[], $4::timestamptz[], $5::text, $6::boolean, $7::bigint, $8::double precision
"""


def connect_as(pool: Pool) -> Connect:
    """
    Return a function that opens connections as *pool* does, with its address, password and ``connect``.

    Raises ConfigurationError for a pool that is not one of asyncpg.
    """
    if not all(hasattr(pool, name) for name in _SOURCES):
        raise ConfigurationError(
            f"lq-postgres cannot open connections as {type(pool).__module__}.{type(pool).__qualname__} does, and a "
            "worker must not depend on a free connection of the application. Pass an asyncpg.Pool, or "
            "PostgresConfig(dsn=...) or PostgresConfig(connect=...) instead of pool=."
        )

    async def connect() -> Connection:
        open_one, arguments, options = (getattr(pool, name) for name in _SOURCES)
        loop = asyncio.get_running_loop()
        kinds = {"connection_class": asyncpg.Connection, "record_class": asyncpg.Record}
        return await open_one(*arguments, loop=loop, **kinds, **options)

    return connect


def keeps_statements(pool: Pool) -> bool:
    """Whether the application's connections keep statements; if not, a pooler may lend their sessions to others."""
    options: dict[str, object] = getattr(pool, _SOURCES[-1], {})
    return options.get("statement_cache_size") != 0


async def open_lent(pool: Pool) -> None:
    """Open a pool that was made and never opened; an open one stays as it is."""
    if isawaitable(pool):
        _ = await pool


async def replace_connections(pool: Pool) -> None:
    """Let a pool replace each connection before its next use, because their server is not the primary any more."""
    asyncpg_pool: Any = pool
    await asyncpg_pool.expire_connections()


async def reads_as_asyncpg_does(pool: Pool, *, timeout: float) -> bool:
    """Whether the connections of a pool write and read types as asyncpg does, or the application has changed this."""
    async with pool.acquire(timeout=timeout) as connection, connection.transaction():
        try:
            [row] = await connection.fetch(_PROBE, *_VALUES, timeout=timeout)
        except (asyncpg.PostgresError, OSError):
            raise
        except Exception:  # noqa: BLE001 -- the application's own way may raise anything
            return False
    return tuple(row) == _VALUES
