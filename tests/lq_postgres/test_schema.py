"""Migrations: applied once, by whoever comes first, and never under code that cannot live with them."""

import asyncio

import pytest

from lq_core.contracts import a_claim, a_record, a_worker, opened
from lq_core.foundation.errors import SchemaError
from lq_core.queue import RecordFilter
from lq_core.records.record import Limits
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.upkeep.schema import migrations
from servers.fixtures import Database

EVERYTHING = RecordFilter()
NAMES = [migration.name for migration in migrations()]


async def test_opening_creates_the_schema_once_for_all(database: Database) -> None:
    backends = [PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn)) for _ in range(5)]
    await asyncio.gather(*(backend.open() for backend in backends))
    await asyncio.gather(*(backend.close() for backend in backends))

    assert database.server.run_sql("SELECT name FROM lq.migrations", at=database.dsn).split() == NAMES


async def test_several_schemas_live_in_one_database(database: Database) -> None:
    first, second = (
        PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, schema=name)) for name in ("shop", "office")
    )
    async with opened(first), opened(second):
        _ = await first.insert([a_record()])

        assert len((await first.statistics()).counts) == 1
        assert len((await second.statistics()).counts) == 0


async def test_a_schema_may_be_named_by_a_word_of_sql(database: Database) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, schema="user"))) as backend:
        await backend.register(a_worker())
        await backend.wait_for_work(backend.changes, timeout=10)  # It listens from now on, and says so.
        _ = await backend.insert([a_record(concurrency_key="ann", limits=Limits(concurrency=1))])
        findings = await backend.diagnose()

        assert len((await backend.claim(a_claim())).records) == 1
        assert await backend.pending_migrations() == []
    assert {finding.advice for finding in findings} == {None}


async def test_a_database_may_be_migrated_by_somebody_else(database: Database) -> None:
    careful = PostgresConfig(dsn=database.dsn, auto_migrate=False)
    with pytest.raises(SchemaError, match=r"lacks 0001_records.*lq migrate"):
        await PostgresQueueBackend(settings=careful).open()

    for migration in migrations():
        _ = database.server.run_sql(migration.sql, at=database.dsn)
    async with opened(PostgresQueueBackend(settings=careful)) as backend:
        assert await backend.pending_migrations() == []


async def test_what_is_missing_can_be_seen_before_it_is_applied(database: Database) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, schema="other"))) as backend:
        assert await backend.pending_migrations() == []
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))

    assert [migration.name for migration in await backend.pending_migrations()] == NAMES
    assert [migration.name for migration in await backend.migrate()] == NAMES
    assert await backend.migrate() == []


async def test_the_owner_of_the_schema_needs_no_permission_to_create_one(database: Database) -> None:
    for statement in ("CREATE ROLE owner LOGIN", "CREATE SCHEMA lq AUTHORIZATION owner"):
        _ = database.server.run_sql(statement, at=database.dsn)
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn.replace("postgres@", "owner@")))
    applied = await backend.migrate()
    _ = database.server.run_sql("DROP OWNED BY owner; DROP ROLE owner", at=database.dsn)

    assert [migration.name for migration in applied] == NAMES


async def test_an_older_code_runs_beside_a_newer_schema_that_allows_it(database: Database) -> None:
    settings = PostgresConfig(dsn=database.dsn, auto_migrate=False)
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))) as running:
        newer = "INSERT INTO lq.migrations (number, name, runs_beside) VALUES (900, 'more', 1)"
        _ = database.server.run_sql(newer, at=database.dsn)
        _ = database.server.run_sql("ALTER TABLE lq.records ADD COLUMN more text", at=database.dsn)
        _ = await running.insert([a_record()])
        async with opened(PostgresQueueBackend(settings=settings)) as restarted:
            assert len(await restarted.find(EVERYTHING)) == 1

        breaking = "INSERT INTO lq.migrations (number, name, runs_beside) VALUES (901, 'broken', 901)"
        _ = database.server.run_sql(breaking, at=database.dsn)
        with pytest.raises(SchemaError, match="needs code that knows migration 901"):
            await PostgresQueueBackend(settings=settings).open()


async def test_a_schema_that_is_gone_is_named(database: Database) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))) as backend:
        _ = database.server.run_sql("DROP SCHEMA lq CASCADE", at=database.dsn)
        with pytest.raises(SchemaError, match="lq migrate"):
            _ = await backend.insert([a_record()])
