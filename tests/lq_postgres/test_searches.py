"""A search reads about as much as it shows, and one that looks at the newest records alone reads no others."""

from random import Random
from uuid import UUID

import pytest
from msgspec.structs import replace

from lq_core import QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.contracts import a_record
from lq_core.queue import RecordFilter
from lq_postgres import PostgresQueueBackend
from lq_postgres.statements.writing import for_schema
from lq_postgres.storage.finding import conditions, statement_for, with_rare
from plans import most_rows, pages
from servers.fixtures import Database

LAST = UUID(int=2**128 - 1)
SHOWN = 20
NUMBERS = {"pending": 1500, "failed": 700, "cancelled": 700, "expired": 700, "dispatched": 700, "completed": 4000}
RARE = 3
"""How many records of each status are in a rare queue, with a rare task."""


def in_status(status: str, **changes: object) -> QueuedTaskRecord:
    error = TaskFailure(type="ValueError", message="No.") if status == "failed" else None
    ended = a_record().created_at if status not in {"pending", "dispatched"} else None
    return replace(a_record(), status=TaskStatus(status), error=error, finished_at=ended, **changes)


@pytest.fixture
async def mixed(backend: PostgresQueueBackend, database: Database) -> PostgresQueueBackend:
    """A backend with records of all statuses, in any order; a third of the pending ones are due later."""
    records = [in_status(status) for status, number in NUMBERS.items() for _ in range(number)]
    records += [in_status("pending", scheduled_at=a_record(delay=3600).scheduled_at) for _ in range(750)]
    records += [in_status(status, queue="rare", task_name="rare") for status in NUMBERS for _ in range(RARE)]
    ids = sorted(record.id for record in records)
    Random(7).shuffle(records)
    await backend.insert([replace(record, id=id_) for id_, record in zip(ids, records, strict=True)])
    for statement in ("CHECKPOINT", "VACUUM ANALYZE lq.records"):  # A page with unwritten commits is not all visible.
        _ = database.server.run_sql(statement, at=database.dsn)
    return backend


async def pages_of(backend: PostgresQueueBackend, condition: RecordFilter) -> int:
    return await pages(backend, statement_for(condition), *conditions(condition), LAST, SHOWN)


@pytest.mark.parametrize("status", sorted({*NUMBERS} - {"completed"}))
async def test_a_search_by_status_reads_about_as_many_pages_as_it_shows_records(
    mixed: PostgresQueueBackend, status: str
) -> None:
    all_of_it = RecordFilter(statuses=(TaskStatus(status),))
    rare = replace(all_of_it, queues=("rare",))

    assert len(await mixed.find(all_of_it, limit=SHOWN)) == SHOWN
    assert len(await mixed.find(rare, limit=SHOWN)) == RARE
    assert await pages_of(mixed, all_of_it) <= 3 * SHOWN
    assert await pages_of(mixed, rare) <= 3 * SHOWN


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired", "dispatched"])
async def test_a_search_by_status_and_task_reads_about_as_many_pages_as_it_shows_records(
    mixed: PostgresQueueBackend, status: str
) -> None:
    rare = RecordFilter(statuses=(TaskStatus(status),), task_names=("rare",))

    assert len(await mixed.find(rare, limit=SHOWN)) == RARE
    assert await pages_of(mixed, rare) <= 3 * SHOWN


async def test_a_search_among_pending_records_reads_only_them_and_the_newest(mixed: PostgresQueueBackend) -> None:
    rare = RecordFilter(statuses=(TaskStatus.PENDING,), task_names=("rare",))
    statement, values = statement_for(rare), (*conditions(rare), LAST, SHOWN)

    assert len(await mixed.find(rare, limit=SHOWN)) == RARE
    assert await most_rows(mixed, statement, *values) <= 200 * SHOWN


async def test_the_pages_of_a_search_for_many_pending_records_have_each_once(mixed: PostgresQueueBackend) -> None:
    """Newest first and oldest first, with pages that a walk fills and pages that it does not."""
    others = [
        in_status("pending", concurrency_key="mail"),
        in_status("pending", blocked=True, cancel_requested=True),
        in_status("pending", cancel_requested=True),
    ]
    await mixed.insert(others)
    pending = RecordFilter(statuses=(TaskStatus.PENDING,))
    down: list[UUID] = []
    while page := await mixed.find(pending, limit=400, before=down[-1] if down else None):
        down += [record.id for record in page]
    up: list[UUID] = []
    while page := await mixed.find(pending, limit=15, after=up[-1] if up else UUID(int=0)):
        up += [record.id for record in page]

    assert down == sorted(up, reverse=True)
    assert len(set(down)) == len(down) == NUMBERS["pending"] + 750 + RARE + len(others)


async def test_a_search_among_the_newest_records_does_not_read_the_older_ones(backend: PostgresQueueBackend) -> None:
    await backend.insert([a_record() for _ in range(3000)])
    nowhere = RecordFilter(statuses=(TaskStatus.COMPLETED,), queues=("nowhere",), newest=20)
    values = *conditions(nowhere), LAST, 100
    sql, newest = with_rare(statement_for(nowhere), nowhere, len(values) + 1)

    assert await most_rows(backend, sql, *values, *newest) <= 2 * 20
    assert await backend.find(nowhere) == []


async def test_a_search_for_a_few_records_uses_no_parallel_plan(backend: PostgresQueueBackend) -> None:
    some = RecordFilter(queues=("mail",))
    wanted = f"EXPLAIN {for_schema(statement_for(some), 'lq')}"
    force = "SELECT set_config(name, 'on', false) FROM pg_settings WHERE name = ANY($1::text[])"
    async with backend.connections.lent() as connection:
        await connection.fetch(force, ["force_parallel_mode", "debug_parallel_query"])  # Before version 16, and since.
        plan = [row[0] for row in await connection.fetch(wanted, *conditions(some), LAST, 100)]

    assert not any("Gather" in line for line in plan)
