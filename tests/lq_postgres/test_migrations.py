"""A migration takes as long as it takes, says what it waits for, and keeps nobody waiting for long."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from logging import INFO, WARNING
from typing import Any

import pytest

from lq_core.contracts import a_record, opened
from lq_core.foundation.errors import StorageError
from lq_postgres import Migration, PostgresConfig, PostgresQueueBackend
from lq_postgres.upkeep import migrator, schema
from lq_postgres.upkeep.schema import migrations
from programs import until
from servers.fixtures import Database

asyncpg: Any = import_module("asyncpg")

ONE_MORE = 900


@pytest.fixture
def one_more(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Adds a migration to those of the package, as the next version of lq does."""

    def add(sql: str) -> None:
        note = f"INSERT INTO lq.migrations (number, name, runs_beside) VALUES ({ONE_MORE}, 'more', 1);"
        more = Migration(number=ONE_MORE, name="more", runs_beside=1, sql=f"{sql}; {note}")

        def with_more(name: str) -> list[Migration]:
            return [*migrations(name), more]

        monkeypatch.setattr(schema, "migrations", with_more)

    return add


@asynccontextmanager
async def holding(dsn: str, statement: str) -> AsyncGenerator[Any]:
    """Another program, which has run a statement in a transaction that stays open."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "report"})
    try:
        async with connection.transaction():
            await connection.execute(statement)
            yield connection
    finally:
        await connection.close()


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[Any]:
    return [record for record in caplog.records if getattr(record, "event", "") == event]


async def test_a_migration_may_take_longer_than_any_timeout(
    database: Database, one_more: Callable[[str], None]
) -> None:
    role = f"hasty_{database.name}"
    _ = await PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn)).migrate()
    _ = database.server.run_sql(
        f"CREATE ROLE {role} SUPERUSER LOGIN; ALTER ROLE {role} SET statement_timeout = '200ms'", at=database.dsn
    )
    one_more("SELECT pg_sleep(1)")
    settings = PostgresConfig(dsn=database.dsn.replace("postgres@", f"{role}@"), command_timeout=0.3, poll_only=True)

    async with opened(PostgresQueueBackend(settings=settings)) as backend:
        assert await backend.pending_migrations() == []
    _ = database.server.run_sql(f"DROP OWNED BY {role}; DROP ROLE {role}", at=database.dsn)


async def test_a_process_that_waits_for_another_one_that_migrates_says_for_whom(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    lock = "SELECT pg_advisory_xact_lock(hashtextextended('\"lq\".migrations', 0))"
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, command_timeout=0.5))
    with caplog.at_level(WARNING, "lq.postgres"):
        async with holding(database.dsn, lock) as holder:
            process = holder.get_server_pid()
            migrating = asyncio.create_task(backend.migrate())

            async def has_said() -> bool:
                return bool(told(caplog, "schema.waiting"))

            await until(has_said, what="it says what it waits for")
            assert not migrating.done()
        applied = await migrating

    assert [migration.number for migration in applied] == [migration.number for migration in migrations()]
    [waiting] = told(caplog, "schema.waiting")
    assert (waiting.lock, waiting.pid, waiting.application) == ("migrations", process, "report")
    assert waiting.migration == "0001_records"


async def test_a_migration_that_waits_for_a_lock_lets_the_application_through(
    database: Database,
    one_more: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(migrator.SETTINGS, "lock_timeout", "700ms")
    application = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True))
    migrating = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True))
    async with opened(application):
        one_more("ALTER TABLE lq.records ADD COLUMN more text")
        with caplog.at_level(INFO, "lq.postgres"):
            async with holding(database.dsn, "SELECT count(*) FROM lq.records"):
                task = asyncio.create_task(migrating.migrate())

                async def has_said() -> bool:
                    return bool(told(caplog, "schema.waiting"))

                await until(has_said, what="it says what it waits for")
                for _ in range(3):  # Each of them waits behind the migration, or finds that it pauses.
                    _ = await application.insert([a_record()])
                assert not task.done()
            [applied] = await task
        _ = await application.insert([a_record()])

    assert applied.number == ONE_MORE
    [waiting, *_] = told(caplog, "schema.waiting")
    assert (waiting.lock, waiting.application) == ("lq.records", "report")
    assert [record.getMessage().partition(" ")[0] for record in caplog.records][-1] == "schema.migrated"


async def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(
    database: Database, one_more: Callable[[str], None]
) -> None:
    one_more("CREATE TABLE lq.more (); SELECT 1 / 0")
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))
    with pytest.raises((StorageError, ValueError), match="division by zero"):
        _ = await backend.migrate()

    assert [migration.number for migration in await backend.pending_migrations()] == [ONE_MORE]
    assert database.server.run_sql("SELECT to_regclass('lq.more') IS NULL", at=database.dsn) == "t"


async def test_the_progress_of_an_index_is_told(
    database: Database, one_more: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    _ = await PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn)).migrate()
    slow = "CREATE FUNCTION slow(integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT $1 FROM pg_sleep(0.5)'"
    many = "CREATE TABLE many AS SELECT generate_series(1, 4) AS number"
    _ = database.server.run_sql(f"{slow}; {many}", at=database.dsn)
    one_more("CREATE INDEX many_slow ON many (slow(number))")
    with caplog.at_level(INFO, "lq.postgres"):
        _ = await PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn)).migrate()

    [progress, *_] = told(caplog, "schema.progress")
    assert "building index" in progress.getMessage()
