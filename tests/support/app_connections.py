"""What applications hold transactions by: each function begins one, and commits it unless an exception leaves it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from importlib import import_module
from json import dumps, loads
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.string import TextLoader
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

asyncpg: Any = import_module("asyncpg")

Connect = Callable[[str], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def by_asyncpg(dsn: str) -> AsyncGenerator[Any]:
    connection: Any = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def by_a_pool_of_asyncpg(dsn: str) -> AsyncGenerator[Any]:
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):
        yield connection


@asynccontextmanager
async def by_psycopg(dsn: str) -> AsyncGenerator[Any]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        yield connection


@asynccontextmanager
async def by_psycopg_in_autocommit(dsn: str) -> AsyncGenerator[Any]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def by_sqlalchemy(dsn: str, *, driver: str) -> AsyncGenerator[Any]:
    engine = create_async_engine(dsn.replace("postgresql:", f"postgresql+{driver}:"))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_a_session(dsn: str, *, driver: str) -> AsyncGenerator[Any]:
    engine = create_async_engine(dsn.replace("postgresql:", f"postgresql+{driver}:"))
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_asyncpg_with_a_codec(dsn: str) -> AsyncGenerator[Any]:
    async with by_asyncpg(dsn) as connection:
        await set_codecs(connection)
        yield connection


def written(value: object) -> str:
    """Write a value that is not text, as the application does for its own classes."""
    if isinstance(value, UUID | datetime):
        raise TypeError(f"{value!r} is not of the application")
    return str(value)


async def set_codecs(connection: Any) -> None:
    """As many applications do; a pool calls it for each connection."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=dumps, decoder=loads, schema="pg_catalog")
    for name in ("uuid", "timestamptz", "numeric"):
        await connection.set_type_codec(name, encoder=written, decoder="<{}>".format, schema="pg_catalog")


@asynccontextmanager
async def by_psycopg_with_loaders(dsn: str) -> AsyncGenerator[Any]:
    async with by_psycopg(dsn) as connection:
        for name in ("uuid", "timestamptz"):
            connection.adapters.register_loader(name, TextLoader)
        yield connection


@asynccontextmanager
async def by_psycopg_in_a_pipeline(dsn: str) -> AsyncGenerator[Any]:
    async with by_psycopg(dsn) as connection, connection.pipeline():
        yield connection


@asynccontextmanager
async def by_psycopg_in_a_pipeline_in_autocommit(dsn: str) -> AsyncGenerator[Any]:
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
        connection.pipeline(),
        connection.transaction(),
    ):
        await connection.execute("SELECT 1")
        yield connection


@asynccontextmanager
async def by_plain_psycopg(dsn: str) -> AsyncGenerator[Any]:
    """As Django has it: within ``atomic``, the connection is not in autocommit."""
    with psycopg.connect(dsn) as connection:
        yield connection


@asynccontextmanager
async def by_plain_psycopg_in_a_pipeline(dsn: str) -> AsyncGenerator[Any]:
    with psycopg.connect(dsn) as connection, connection.pipeline():
        yield connection


HOLDERS: dict[str, Connect] = {
    "asyncpg": by_asyncpg,
    "asyncpg-codec": by_asyncpg_with_a_codec,
    "asyncpg-pool": by_a_pool_of_asyncpg,
    "psycopg": by_psycopg,
    "psycopg-autocommit": by_psycopg_in_autocommit,
    "psycopg-loaders": by_psycopg_with_loaders,
    "psycopg-pipeline": by_psycopg_in_a_pipeline,
    "psycopg-pipeline-autocommit": by_psycopg_in_a_pipeline_in_autocommit,
    "psycopg-plain": by_plain_psycopg,
    "psycopg-plain-pipeline": by_plain_psycopg_in_a_pipeline,
    "sqlalchemy-asyncpg": lambda dsn: by_sqlalchemy(dsn, driver="asyncpg"),
    "sqlalchemy-psycopg": lambda dsn: by_sqlalchemy(dsn, driver="psycopg"),
    "session-asyncpg": lambda dsn: by_a_session(dsn, driver="asyncpg"),
    "session-psycopg": lambda dsn: by_a_session(dsn, driver="psycopg"),
}
