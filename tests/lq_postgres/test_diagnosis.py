"""What hurts is found, and comes with what to do about it."""

from collections.abc import Mapping

from lq_core.testing import a_record, opened
from lq_postgres import Finding, PostgresConfig, PostgresQueueBackend
from servers.fixtures import Database


async def findings(backend: PostgresQueueBackend) -> Mapping[str, Finding]:
    return {finding.check: finding for finding in await backend.diagnose()}


async def test_a_queue_that_is_well_needs_no_advice(backend: PostgresQueueBackend) -> None:
    await backend.wait_for_work(backend.changes, timeout=10)  # It listens from now on, and says so.

    assert {check: finding.advice for check, finding in (await findings(backend)).items()} == dict.fromkeys(
        [
            *("schema", "oldest ready record", "oldest transaction", "dead rows"),
            *("indexes", "listener", "clocks", "pool"),
        ]
    )


async def test_a_record_that_nobody_takes_is_noticed(backend: PostgresQueueBackend) -> None:
    _ = await backend.insert([a_record(delay=-120)])

    finding = (await findings(backend))["oldest ready record"]

    assert finding.found.endswith("0 workers are alive")
    assert finding.advice == "Start a worker: lq worker"


async def test_a_missing_index_is_named(backend: PostgresQueueBackend, database: Database) -> None:
    _ = database.server.run_sql("DROP INDEX lq.records_waiting", at=database.dsn)

    assert (await findings(backend))["indexes"].found == "missing: records_waiting"


async def test_a_transaction_that_holds_a_snapshot_is_shown(backend: PostgresQueueBackend, database: Database) -> None:
    holder = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True))
    async with opened(holder), holder.connections.lent() as connection, connection.transaction():
        _ = await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        _ = await connection.fetch("SELECT 1")

        assert "idle in transaction" in (await findings(backend))["oldest transaction"].found


async def test_a_schema_that_is_missing_comes_first(database: Database) -> None:
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))
    await backend.connections.open()

    [finding] = await backend.diagnose()

    assert (finding.check, finding.advice) == ("schema", "Run: lq migrate")
    await backend.close()


async def test_a_role_that_can_only_enqueue_is_enough_to_enqueue(
    backend: PostgresQueueBackend, database: Database
) -> None:
    for statement in (
        "DROP ROLE IF EXISTS enqueuer",
        "CREATE ROLE enqueuer LOGIN",
        "GRANT USAGE ON SCHEMA lq TO enqueuer",
        "GRANT SELECT ON lq.migrations TO enqueuer",
        "GRANT INSERT, SELECT ON lq.records TO enqueuer",
    ):
        _ = database.server.run_sql(statement, at=database.dsn)
    settings = PostgresConfig(dsn=database.dsn.replace("postgres@", "enqueuer@"), auto_migrate=False)
    async with opened(PostgresQueueBackend(settings=settings)) as enqueuer:
        first, second = await enqueuer.insert([a_record(key="once"), a_record(key="once")])
    _ = database.server.run_sql("DROP OWNED BY enqueuer; DROP ROLE enqueuer", at=database.dsn)

    assert (first.created, second.created) == (True, False)
