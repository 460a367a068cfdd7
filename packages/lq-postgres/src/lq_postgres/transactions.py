"""
Statements in a transaction that belongs to the application, whatever it holds its connection by.

asyncpg, psycopg and SQLAlchemy are recognised by what they can do; the latter two are never imported for it.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

from lq_core.errors import ConfigurationError, SchemaError
from lq_postgres.driver import Row
from lq_postgres.faults import MISSING
from lq_postgres.insertion import Fetch
from lq_postgres.statements.writing import for_schema


async def statements_on(connection: object, schema: str) -> Fetch:
    """
    Run statements on a connection of asyncpg, psycopg or SQLAlchemy, in the transaction that is open there.

    Raises ConfigurationError when none is open: what is stored would be committed at once, and alone.
    """
    held: Any = connection
    if hasattr(held, "sync_session"):  # SQLAlchemy's AsyncSession
        held = await held.connection()
    if hasattr(held, "get_raw_connection"):  # SQLAlchemy's AsyncConnection
        # Until its own first statement, SQLAlchemy has not told the driver to begin a transaction.
        _ = await held.exec_driver_sql("SELECT 1")
        held = (await held.get_raw_connection()).driver_connection
    if hasattr(held, "is_in_transaction"):
        _refuse_without(held.is_in_transaction(), connection)
        return _told(_by_asyncpg(held, schema), schema)
    if hasattr(held, "pgconn") and hasattr(held, "cursor"):
        _refuse_without(not held.autocommit or held.info.transaction_status.name == "INTRANS", connection)
        return _told(_by_psycopg(held, schema), schema)
    raise ConfigurationError(
        f"{type(connection).__module__}.{type(connection).__qualname__} is no connection that lq-postgres knows. Give "
        "one of asyncpg, an AsyncConnection of psycopg, or an AsyncSession or AsyncConnection of SQLAlchemy on either."
    )


def _refuse_without(is_open: bool, connection: object) -> None:  # noqa: FBT001 -- the question and its answer
    if not is_open:
        raise ConfigurationError(
            f"No transaction is open on this {type(connection).__qualname__}, so there is nothing to share. "
            "Begin one first: `async with connection.transaction():`."
        )


def _told(fetch: Fetch, schema: str) -> Fetch:
    """Say where one has come to when the records are not there; all else is the driver's, as it is for the caller."""

    async def fetch_and_tell(sql: str, /, *parameters: object) -> Sequence[Row]:
        try:
            return await fetch(sql, *parameters)
        except Exception as error:
            if getattr(error, "sqlstate", None) not in MISSING:
                raise
            raise SchemaError(
                f"{error}. Does this connection lead to the database that holds the records, in the schema {schema!r}?"
            ) from error

    return fetch_and_tell


def _by_asyncpg(connection: Any, schema: str) -> Fetch:
    async def fetch(sql: str, /, *parameters: object) -> Sequence[Row]:
        return await connection.fetch(for_schema(sql, schema), *parameters)

    return fetch


def _by_psycopg(connection: Any, schema: str) -> Fetch:
    psycopg: Any = import_module("psycopg")

    async def fetch(sql: str, /, *parameters: object) -> Sequence[Row]:
        given = [_as_array(each) for each in parameters]
        async with psycopg.AsyncRawCursor(connection, row_factory=psycopg.rows.tuple_row) as cursor:
            await cursor.execute(for_schema(sql, schema), given)
            return await cursor.fetchall() if cursor.description else []

    return fetch


def _as_array(value: object) -> object:
    """Psycopg takes a list for an array, and a tuple for a row."""
    return [*cast("tuple[object, ...]", value)] if isinstance(value, tuple) else value
