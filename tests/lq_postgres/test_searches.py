"""A search that looks at the newest records alone reads no others."""

from uuid import UUID

from lq_core import TaskStatus
from lq_core.contracts import a_record
from lq_core.queue import RecordFilter
from lq_postgres import PostgresQueueBackend
from lq_postgres.statements.writing import for_schema
from lq_postgres.storage.finding import conditions, statement_for, with_rare
from plans import most_rows

LAST = UUID(int=2**128 - 1)


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
