"""Problems of a database are found, and come with advice."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pytest

from lq_core.contracts import a_record, opened
from lq_core.queue import Finding
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.upkeep.schema import migrations
from servers import PostgresServer
from servers.fixtures import Database

asyncpg: Any = import_module("asyncpg")

RECORDS_INDEXES = """
SELECT count(*) FROM pg_indexes WHERE schemaname = 'lq' AND tablename = 'records' AND indexname <> 'records_pkey'
"""


async def findings(backend: PostgresQueueBackend) -> Mapping[str, Finding]:
    return {finding.check: finding for finding in await backend.diagnose()}


async def test_a_queue_that_is_well_needs_no_advice(backend: PostgresQueueBackend) -> None:
    assert {check: finding.advice for check, finding in (await findings(backend)).items()} == dict.fromkeys(
        [
            *(
                "schema",
                "oldest transaction",
                "dead rows",
                "indexes",
                "listener",
                "notification queue",
                "clocks",
                "pool",
                "connections",
            ),
            "settings",
            *("oldest ready record", "workers", "records without a worker", "running records", "unknown tasks"),
        ]
    )


async def test_a_listener_that_is_up_is_not_tried_out(backend: PostgresQueueBackend) -> None:
    await backend.wait_for_work(backend.changes, timeout=10)  # It listens from now on, and says so.

    assert (await findings(backend))["listener"].found == "receives notifications"


async def test_a_listener_that_cannot_hear_is_found_before_anybody_waits(
    backend: PostgresQueueBackend, database: Database
) -> None:
    _ = database.server.run_sql("CREATE DATABASE elsewhere", at=database.dsn)
    address = database.server.dsn("elsewhere")
    deaf = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, listen_dsn=address))
    async with opened(deaf):
        finding = (await findings(deaf))["listener"]
    database.server.drop_database("elsewhere")

    assert finding.found == "down: records are found by polling"
    assert "listen_dsn" in (finding.advice or "")


async def test_a_record_that_no_worker_takes_is_noticed(backend: PostgresQueueBackend) -> None:
    _ = await backend.insert([a_record(delay=-120)])

    finding = (await findings(backend))["oldest ready record"]

    assert finding.found.endswith("0 workers alive")
    assert finding.advice == "Start a worker: lq worker module:config"


@pytest.mark.parametrize("index", ["records_waiting", "records_ready_keyed"])
async def test_a_missing_index_is_named(backend: PostgresQueueBackend, database: Database, index: str) -> None:
    _ = database.server.run_sql(f"DROP INDEX lq.{index}", at=database.dsn)

    missing = (await findings(backend))["indexes"]
    _ = database.server.run_sql((missing.advice or "").removeprefix("Run: "), at=database.dsn)

    assert missing.found == f"missing: {index}"
    assert (await findings(backend))["indexes"].advice is None
    number = database.server.run_sql(RECORDS_INDEXES, at=database.dsn)
    assert (await findings(backend))["indexes"].found == f"all {number} exist"


async def test_a_server_that_is_about_to_refuse_connections_is_noticed() -> None:
    with PostgresServer(settings={"max_connections": "8"}) as small:
        backend = PostgresQueueBackend(settings=PostgresConfig(dsn=small.dsn(), poll_only=True))
        lent = backend.connections.lent
        async with opened(backend), lent(), lent(), lent(), lent():
            crowded = (await findings(backend))["connections"]

    assert crowded.found == "5 of 5 allowed by the server"


async def test_a_transaction_that_holds_a_snapshot_is_shown(backend: PostgresQueueBackend, database: Database) -> None:
    holder = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True))
    async with opened(holder), holder.connections.lent() as connection, connection.transaction():
        _ = await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        _ = await connection.fetch("SELECT 1")

        assert "idle in transaction" in (await findings(backend))["oldest transaction"].found


async def test_a_transaction_that_has_written_and_holds_no_snapshot_is_shown(
    backend: PostgresQueueBackend, database: Database
) -> None:
    holder = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True))
    async with opened(holder), holder.connections.lent() as connection, connection.transaction():
        _ = await connection.execute("CREATE TEMPORARY TABLE written ()")

        assert "idle in transaction" in (await findings(backend))["oldest transaction"].found


async def test_a_schema_that_is_missing_comes_first(database: Database) -> None:
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))
    await backend.connections.open()

    [finding] = await backend.diagnose()

    assert (finding.check, finding.found) == ("schema", f"migration 0, {len(migrations())} missing")
    assert finding.advice == "Run: lq migrate --config module:config"
    await backend.close()


async def test_a_schema_that_is_newer_than_this_code_is_reported_by_its_number(
    backend: PostgresQueueBackend, database: Database
) -> None:
    newer = "INSERT INTO lq.migrations (number, name, runs_beside) VALUES (900, 'more', 1)"
    _ = database.server.run_sql(newer, at=database.dsn)

    assert (await findings(backend))["schema"] == Finding(check="schema", found="migration 900")


async def test_timeouts_of_the_role_are_shown_and_do_not_end_statements(
    backend: PostgresQueueBackend, database: Database
) -> None:
    _ = database.server.run_sql(f"ALTER DATABASE {database.name} SET statement_timeout = '100ms'", at=database.dsn)
    for settings in (PostgresConfig(dsn=database.dsn), PostgresConfig(dsn=database.dsn, statement_cache=False)):
        async with opened(PostgresQueueBackend(settings=settings)) as own:
            assert len(await own.connections.fetch("SELECT pg_sleep(0.3)")) == 1
            finding = (await findings(own))["settings"]

        assert finding.found == f"DATABASE {database.name} sets statement_timeout=100ms, which lq replaces"
        assert finding.advice is None
    assert (await findings(backend))["settings"].advice is None


async def test_timeouts_of_the_role_that_end_statements_in_a_pool_are_found(database: Database) -> None:
    role = f"hasty_{database.name}"
    alter = "; ".join(f"ALTER ROLE {role} SET {name} = '1s'" for name in ("lock_timeout", "statement_timeout"))
    _ = database.server.run_sql(f"CREATE ROLE {role} SUPERUSER LOGIN; {alter}", at=database.dsn)
    dsn = database.dsn.replace("postgres@", f"{role}@")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool:
        async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool, poll_only=True))) as backend:
            finding = (await findings(backend))["settings"]
        _ = database.server.run_sql((finding.advice or "").partition("Run: ")[2], at=database.dsn)
        await pool.expire_connections()
        async with opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool, poll_only=True))) as backend:
            cured = (await findings(backend))["settings"]
    _ = database.server.run_sql(f"DROP OWNED BY {role}; DROP ROLE {role}", at=database.dsn)

    assert finding.found == f"ROLE {role} sets lock_timeout=1s; ROLE {role} sets statement_timeout=1s"
    assert cured == Finding(check="settings", found="the role and the database set none that matter")


@pytest.mark.parametrize("setting", ["default_transaction_read_only = on", "synchronous_commit = off"])
async def test_a_setting_with_which_records_are_refused_or_lost_is_found(
    backend: PostgresQueueBackend, database: Database, setting: str
) -> None:
    _ = database.server.run_sql(f"ALTER DATABASE {database.name} SET {setting}", at=database.dsn)
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))) as later:
        finding = (await findings(later))["settings"]

    name = setting.partition(" ")[0]
    assert (finding.advice or "").endswith(f"Run: ALTER DATABASE {database.name} RESET {name};")
