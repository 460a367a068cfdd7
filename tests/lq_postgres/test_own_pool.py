"""A pool that belongs to the application: used, never closed, and given back as it was."""

import json
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import pytest

from lq_core.lifecycle import complete
from lq_core.record import Dependencies
from lq_core.testing import a_claim, a_record, a_swap, a_worker, opened
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers.fixtures import Database

asyncpg: Any = import_module("asyncpg")


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(database.dsn, min_size=1, max_size=4, init=set_codecs) as pool:
        yield pool


async def set_codecs(connection: Any) -> None:
    """As many applications do."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def test_records_live_and_end_by_the_pool_of_the_application(pool: Any) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool))) as backend:
        await backend.register(a_worker())
        _ = await backend.insert([a_record(key="once")])
        [record] = (await backend.claim(a_claim())).records
        kept = await backend.swap([a_swap(complete(record, result="1", at=backend.now()))])

    assert kept == [True]
    assert backend.address == "an application's pool (schema lq)"
    assert await pool.fetchval("SELECT count(*) FROM lq.records WHERE status = 'completed'") == 1


async def test_what_comes_after_another_waits_for_it(pool: Any) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool))) as backend:
        first, other = a_record(), a_record(queue="mail")
        later = a_record(after=Dependencies(ids=(first.id, other.id)), blocked=True)
        _ = await backend.insert([first, other, later])

        assert await backend.get(later.id) == later
        assert (await backend.freed(limit=10)).records == []


async def test_wake_ups_are_heard_on_a_connection_of_the_pool(pool: Any, database: Database) -> None:
    producer = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))
    async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool))) as backend, opened(producer):
        await backend.wait_for_work(backend.changes, timeout=10)  # It listens from now on, and says so.
        changes = backend.changes
        _ = await producer.insert([a_record()])
        await backend.wait_for_work(changes, timeout=10)

        assert backend.changes > changes
        assert {finding.advice for finding in await backend.diagnose()} == {
            None,
            "Start a worker: lq worker module:config",
        }


async def test_the_pool_is_left_open_and_as_it_was(pool: Any) -> None:
    backend = PostgresQueueBackend(settings=PostgresConfig(pool=pool))
    async with opened(backend):
        await backend.wait_for_work(backend.changes, timeout=10)  # It listens from now on, and says so.
    async with opened(backend):
        _ = await backend.insert([a_record()])

    assert await pool.fetchval("SELECT count(*) FROM pg_listening_channels()") == 0
    assert await pool.fetchval("SHOW enable_seqscan") == "on"
    assert not pool.is_closing()
