"""
Statements in a transaction of the application, on a connection of asyncpg, psycopg or SQLAlchemy.

lq recognises each by its attributes, so it needs neither psycopg nor SQLAlchemy. Applications change how their
connections read and write types, so ids and moments travel as text.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from lq_core.foundation.errors import ConfigurationError, SchemaError
from lq_core.foundation.new_thread import in_new_thread
from lq_postgres.connection.driver import Fetch, Row
from lq_postgres.connection.faults import MISSING
from lq_postgres.connection.text_form import in_text, parameter_in_text, row_of_text


async def statements_on(connection: object, schema: str) -> Fetch:
    """
    Run statements in the open transaction of a connection of asyncpg, psycopg or SQLAlchemy.

    Raises ConfigurationError if no transaction is open. SchemaError means that the tables are missing; all other
    errors are those of the driver.
    """
    held: Any = connection
    if hasattr(held, "sync_session"):  # SQLAlchemy's AsyncSession
        held = await held.connection()
    if hasattr(held, "get_raw_connection"):  # SQLAlchemy's AsyncConnection
        # SQLAlchemy begins the transaction of the driver with its first statement.
        _ = await held.exec_driver_sql("SELECT 1")
        held = (await held.get_raw_connection()).driver_connection
    if hasattr(held, "is_in_transaction"):
        run = held.fetch
        is_open = held.is_in_transaction()
    elif hasattr(held, "pgconn") and hasattr(held, "cursor"):
        run = _by_psycopg(held)
        if held.pgconn.pipeline_status:
            _ = await run("SELECT 1")  # In a pipeline, BEGIN may not have arrived yet.
        is_open = not held.autocommit or held.info.transaction_status.name == "INTRANS"
    else:
        raise ConfigurationError(
            f"lq-postgres cannot use {type(connection).__module__}.{type(connection).__qualname__}. Pass a connection "
            "of asyncpg, a Connection or AsyncConnection of psycopg (in Django: connection.connection), or an "
            "AsyncSession or AsyncConnection of SQLAlchemy on either driver."
        )
    if not is_open:
        raise ConfigurationError(
            f"No transaction is open on this {type(connection).__qualname__}. "
            "Begin one first: `async with connection.transaction():`."
        )

    async def fetch(sql: str, /, *parameters: object) -> Sequence[Row]:
        try:
            rows = await run(in_text(sql, schema), *map(parameter_in_text, parameters))
        except Exception as error:
            if getattr(error, "sqlstate", None) not in MISSING:
                raise
            raise SchemaError(
                f"{error}. Does this connection use the database that holds the records, in the schema {schema!r}?"
            ) from error
        return [row_of_text(sql, row) for row in rows]

    return fetch


def _by_psycopg(connection: Any) -> Fetch:
    psycopg: Any = import_module("psycopg")

    async def run(sql: str, /, *parameters: object) -> Sequence[Row]:
        async with psycopg.AsyncRawCursor(connection, row_factory=psycopg.rows.tuple_row) as cursor:
            await cursor.execute(sql, parameters)
            if connection.pgconn.pipeline_status:
                async with connection.pipeline() as pipeline:
                    await pipeline.sync()  # Until then, the answer has not arrived.
            return await cursor.fetchall() if cursor.description else []

    def run_plainly(sql: str, parameters: Sequence[object]) -> Sequence[Row]:
        with psycopg.RawCursor(connection, row_factory=psycopg.rows.tuple_row) as cursor:
            cursor.execute(sql, parameters)
            if connection.pgconn.pipeline_status:
                with connection.pipeline() as pipeline:
                    pipeline.sync()
            return cursor.fetchall() if cursor.description else []

    async def run_in_thread(sql: str, /, *parameters: object) -> Sequence[Row]:
        return await in_new_thread(run_plainly, sql, parameters)

    return run_in_thread if isinstance(connection, psycopg.Connection) else run
