"""What a dead worker was running is found, whatever else goes on in the database."""

import asyncio
from uuid import UUID

import pytest
from msgspec.structs import replace

from lq_core import StorageError
from lq_core.contracts import a_record, a_swap, a_worker, claimed, opened
from lq_core.queue import RecordFilter
from lq_core.records.lifecycle import claim, complete
from lq_core.records.record import TaskStatus
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.statements import upkeep
from plans import most_rows
from servers.fixtures import Database

FORGETFUL = """
CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN DELETE FROM lq.workers; RETURN NULL; END$$;
CREATE TRIGGER forget AFTER INSERT ON lq.records EXECUTE FUNCTION forget();
"""


async def test_what_an_open_transaction_is_about_to_end_is_left_to_it(
    backend: PostgresQueueBackend, database: Database
) -> None:
    ended, lost = await claimed(backend, a_record(), a_record())
    await backend.retire("ada")
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True))) as other:
        async with other.connections.lent() as connection, connection.transaction():
            _ = await other.swap_within(connection, a_swap(complete(ended, result="1", at=backend.now())))
            before = await backend.orphans(timeout=30, limit=10)

        assert before == [lost]
        assert await backend.orphans(timeout=30, limit=10) == [lost]


async def test_each_page_begins_where_the_last_one_ended(backend: PostgresQueueBackend) -> None:
    ended = [replace(a_record(), status=TaskStatus.COMPLETED, finished_at=backend.now()) for _ in range(3000)]
    await backend.insert(ended)
    lost = await claimed(backend, *(a_record() for _ in range(25)))
    await backend.retire("ada")

    pages = [await backend.orphans(timeout=30, limit=10) for _ in range(4)]

    assert [len(page) for page in pages] == [10, 10, 5, 10]
    assert [record.id for page in pages[:3] for record in page] == [record.id for record in lost]
    assert pages[3] == pages[0]
    assert await most_rows(backend, upkeep.ORPHANS, ["ada"], lost[9].id, 10) <= 100


async def test_a_worker_is_forgotten_only_after_a_page_from_the_beginning(backend: PostgresQueueBackend) -> None:
    lost = await claimed(backend, *(a_record() for _ in range(10)))
    await backend.retire("ada")

    first = await backend.orphans(timeout=30, limit=10)
    assert await backend.orphans(timeout=30, limit=10) == first
    await backend.swap([a_swap(complete(record, result="1", at=backend.now())) for record in lost])
    assert await backend.orphans(timeout=30, limit=10) == []
    assert await backend.connections.fetch(upkeep.DEAD) == []


async def test_whose_worker_was_forgotten_while_it_was_stored_is_found(
    backend: PostgresQueueBackend, database: Database
) -> None:
    _ = database.server.run_sql(FORGETFUL, at=database.dsn)
    [record] = [one.record for one in await backend.insert([claim(a_record(), worker_id="ghost", at=backend.now())])]

    assert await backend.orphans(timeout=30, limit=10) == [record]


async def test_whose_worker_has_no_row_is_found_beside_the_others(
    backend: PostgresQueueBackend, database: Database
) -> None:
    [record] = await claimed(backend, a_record())
    _ = database.server.run_sql("DELETE FROM lq.workers", at=database.dsn)
    await backend.register(a_worker("bob"))
    await backend.retire("bob")

    assert await backend.orphans(timeout=30, limit=10) == [record]


async def test_what_runs_is_looked_for_also_where_that_takes_long(
    backend: PostgresQueueBackend, database: Database
) -> None:
    records = await claimed(backend, a_record())
    await backend.retire("ada")
    running = RecordFilter(statuses=(TaskStatus.RUNNING,))
    settings = PostgresConfig(dsn=database.dsn, command_timeout=0.3, poll_only=True)
    async with opened(PostgresQueueBackend(settings=settings)) as hurried:
        async with backend.connections.lent() as connection, connection.transaction():
            _ = await connection.execute("LOCK TABLE lq.records")
            looks = [
                asyncio.create_task(hurried.find(running, after=UUID(int=0))),
                asyncio.create_task(hurried.orphans(timeout=30, limit=10)),
            ]
            with pytest.raises(StorageError, match="did not answer in time"):
                _ = await hurried.find(running)

        assert [await look for look in looks] == [records, records]
