"""An error of the server is blamed on the record, the connection, the server or the program, and on nothing else."""

from collections.abc import AsyncIterator
from importlib import import_module

import pytest

from lq_core import StorageError
from lq_core.contracts import a_record, opened
from lq_core.foundation.errors import SchemaError
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.connection.connections import Connections
from lq_postgres.connection.sqlstates import NOTIFY_QUEUE_FULL, VERDICTS, Blame
from programs import until
from servers.fixtures import Database

exceptions = import_module("asyncpg.exceptions")

RAISE = """
CREATE FUNCTION raise_error(code text) RETURNS integer LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'raised for a test' USING ERRCODE = code; END $$
"""


@pytest.fixture
async def connections(database: Database) -> AsyncIterator[Connections]:
    """Those of an open backend whose server can raise any error."""
    _ = database.server.run_sql(RAISE, at=database.dsn)
    settings = PostgresConfig(dsn=database.dsn, poll_only=True)
    async with opened(PostgresQueueBackend(settings=settings)) as backend:
        yield backend.connections


async def the_process(connections: Connections) -> int:
    [[process]] = await connections.fetch("SELECT pg_backend_pid()")
    return process


async def after(connections: Connections, code: str) -> tuple[type[Exception], bool]:
    """The error of lq that an error of the server becomes, and whether its connection is used further."""
    before = await the_process(connections)
    try:
        _ = await connections.fetch("SELECT raise_error($1)", code)
    except Exception as error:  # noqa: BLE001 -- its class is the answer
        return type(error), await the_process(connections) == before
    raise AssertionError(f"{code} was not raised")


def codes_of(blame: Blame) -> list[str]:
    """Those of the table; a class stands for its first code."""
    return [key.ljust(5, "0") for key, (found, _) in VERDICTS.items() if found is blame and key != NOTIFY_QUEUE_FULL]


async def test_an_error_of_the_record_is_a_value_error_and_costs_no_connection(connections: Connections) -> None:
    found = {code: await after(connections, code) for code in codes_of(Blame.RECORD)}

    assert found == dict.fromkeys(codes_of(Blame.RECORD), (ValueError, True))


@pytest.mark.parametrize("blame", [Blame.SERVER, Blame.PROGRAM])
async def test_an_error_of_the_server_or_of_the_program_is_none_of_the_record(
    connections: Connections, blame: Blame
) -> None:
    found = {code: await after(connections, code) for code in codes_of(blame)}

    schema = {code: (SchemaError, True) for code in codes_of(blame) if code == "3F000"}
    assert found == dict.fromkeys(codes_of(blame), (StorageError, True)) | schema


async def test_an_error_of_the_connection_replaces_it_and_is_none_of_the_record(connections: Connections) -> None:
    found = {code: await after(connections, code) for code in codes_of(Blame.CONNECTION)}

    assert {code for code, (kind, _) in found.items() if not issubclass(kind, StorageError)} == set()
    assert {code for code, (_, is_kept) in found.items() if is_kept} == set()


async def test_an_error_of_a_connection_replaces_the_idle_ones_too(connections: Connections) -> None:
    async with connections.lent(), connections.lent(), connections.lent():
        pass
    _ = await after(connections, "57P01")

    async def one_is_left() -> bool:
        return connections.pool.get_size() == 1

    await until(one_is_left, what="only the new connection is open")


def test_every_class_of_errors_has_a_verdict() -> None:
    codes = [getattr(each, "sqlstate", None) for each in vars(exceptions).values()]
    known = {code[:2] for code in codes if code is not None}

    assert len(known) > 40
    assert known - VERDICTS.keys() == set()


async def test_what_the_driver_cannot_encode_is_an_error_of_the_record(connections: Connections) -> None:
    with pytest.raises(ValueError, match="cannot store this record"):
        _ = await connections.fetch("SELECT $1::integer", 2**40)


async def test_a_setting_that_the_server_refuses_is_not_an_error_of_a_record(database: Database) -> None:
    settings = PostgresConfig(dsn=f"{database.dsn}?options=-c%20work_mem%3Dnonsense")
    with pytest.raises(StorageError, match="work_mem"):
        await PostgresQueueBackend(settings=settings).open()


async def test_one_record_that_cannot_be_stored_fails_alone(database: Database) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))) as backend:
        with pytest.raises(ValueError, match="cannot store this record"):
            _ = await backend.insert([a_record(task_name="a\x00b")])
        assert len(await backend.insert([a_record()])) == 1
