"""Ending a record leaves the indexes alone, whatever the name of the execution backend."""

from collections.abc import Mapping

import pytest

from lq_core.contracts import a_claim, a_record, a_swap, a_worker
from lq_core.queue import RecordFilter
from lq_core.records import lifecycle
from lq_core.records.record import OWNED, TaskStatus
from lq_postgres import PostgresQueueBackend
from lq_postgres.statements import reading
from lq_postgres.storage.finding import statement_for
from servers.fixtures import Database

RECORDS = 200
LARGE = f'{{"args": ["{"x" * 800}"]}}'
UPDATES = """
SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'lq.records'::regclass
"""


async def updates(database: Database) -> Mapping[str, int]:
    """Count the updates so far, once the backend has reported them: its sessions end for that."""
    every, hot = database.server.run_sql(UPDATES, at=database.dsn).split("|")
    return {"all": int(every), "hot": int(hot)}


@pytest.mark.parametrize("name", ["local", "shop.backends.InProcess"])
async def test_completing_a_record_leaves_the_indexes_alone(
    backend: PostgresQueueBackend, database: Database, name: str
) -> None:
    await backend.register(a_worker())
    # A row grows with each update. Few large rows fit in a page, so there is room for them to grow.
    _ = await backend.insert([a_record(execution_backend=name, arguments=LARGE) for _ in range(RECORDS)])
    claim = a_claim(limit=RECORDS, execution_backends=(name,))

    running = (await backend.claim(claim)).records
    ended = [a_swap(lifecycle.complete(record, result="1", at=backend.now())) for record in running]
    assert await backend.swap(ended) == [True] * RECORDS
    await backend.close()

    assert await updates(database) == {"all": 2 * RECORDS, "hot": RECORDS}


async def test_what_an_external_execution_runs_is_found_by_an_index(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    record = a_record(execution_backend="cloud")
    _ = await backend.insert([record])
    claim = a_claim(execution_backends=("cloud",), to=TaskStatus.DISPATCHED)
    (dispatched,) = (await backend.claim(claim)).records
    running = lifecycle.attach(
        lifecycle.claim(dispatched, worker_id="container", at=backend.now()), execution_ref="jobs/shop/executions/1"
    )
    assert await backend.swap([a_swap(running)]) == [True]

    condition = RecordFilter(statuses=tuple(sorted(OWNED)), execution_backends=("cloud",), external=True)

    assert statement_for(condition) is reading.FIND_BY_STATUS
    assert list(await backend.find(condition)) == [running]
