"""
Applies the missing migrations, one process at a time.

A migration may take as long as it takes. It waits for the lock of a table only for a moment at a time, because the
statements of the application wait behind it meanwhile.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from random import uniform
from time import monotonic
from typing import Final, Literal

from asyncpg.exceptions import DeadlockDetectedError, LockNotAvailableError

from lq_core.foundation.clock import LONGEST_WAIT
from lq_core.foundation.event_log import event_log
from lq_postgres.connection.connections import Connections
from lq_postgres.connection.driver import Connection, Row
from lq_postgres.connection.session import begin, newer_settings
from lq_postgres.statements import versions
from lq_postgres.statements.writing import for_schema
from lq_postgres.upkeep.migration_watch import MigrationWatch
from lq_postgres.upkeep.schema import Migration, Schema

log = event_log("lq.postgres")

SETTINGS: Final = {
    "lock_timeout": "2s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "60s",  # Longer than a pause, in which the other processes go on waiting.
}

FIRST_PAUSE: Final = 0.05
LONGEST_TURN: Final = 1.0
"""Seconds between two looks whether another process has migrated."""

LONGEST_PAUSE: Final = 10.0
"""Seconds between two attempts to lock a table."""


class Migrator:
    """Brings the schema of one database up to date."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._name = connections.config.schema
        self._watch = MigrationWatch(connections)

    async def missing(self) -> Sequence[Migration]:
        """Return the missing migrations; raise SchemaError if the database is too new for this code."""
        async with self._connections.transaction() as fetch:
            return await Schema(fetch, self._name).pending()

    async def migrate(self) -> Sequence[Migration]:
        """Apply the missing migrations in order, and return those that this process has applied."""
        applied, turns = list[Migration](), 0
        while missing := await self.missing():
            outcome = await self._apply(missing[0])
            if outcome == "applied":
                applied.append(missing[0])
            elif outcome == "busy":
                await self._watch.look_for_another(missing[0])
                await _pause(turns, longest=LONGEST_TURN)
            turns = turns + 1 if outcome == "busy" else 0
        return applied

    async def _apply(self, migration: Migration) -> Literal["applied", "busy", "not missing"]:
        """Apply a migration in its own transaction, unless another process migrates or has done so."""
        outcome: Literal["applied", "busy", "not missing"] = "busy"
        async with self._connections.lent() as connection:
            fetch = partial(_fetch, connection, self._name)
            try:
                _ = await connection.execute(begin({**SETTINGS, **newer_settings(connection.get_server_version()[0])}))
                [[is_locked, process]] = await fetch(versions.LOCK_SCHEMA)
                if is_locked:
                    missing = await Schema(fetch, self._name).pending()
                    outcome = "applied" if missing and missing[0].number == migration.number else "not missing"
                if outcome == "applied":
                    async with self._watch.over(migration, process=process):
                        await _run(connection, migration)
            except BaseException:
                if not connection.is_closed():
                    _ = await connection.execute("ROLLBACK")
                raise
            _ = await connection.execute("COMMIT", timeout=LONGEST_WAIT)
        return outcome


async def _run(connection: Connection, migration: Migration) -> None:
    facts = {"number": migration.number, "migration": migration.name}
    log.info("schema.migrating", extra=facts)
    began, attempts = monotonic(), 0
    while not await _runs(connection, migration):
        attempts += 1
        await _pause(attempts + 4, longest=LONGEST_PAUSE)
    log.info("schema.migrated", extra={**facts, "seconds": round(monotonic() - began, 3)})


async def _runs(connection: Connection, migration: Migration) -> bool:
    """Try to run a migration; False if another transaction has kept the lock of a table for too long."""
    _ = await connection.execute("SAVEPOINT migration")
    try:
        _ = await connection.execute(migration.sql, timeout=LONGEST_WAIT)
    except (LockNotAvailableError, DeadlockDetectedError):
        _ = await connection.execute("ROLLBACK TO SAVEPOINT migration")  # This also releases the other locks.
        return False
    return True


async def _fetch(connection: Connection, schema: str, sql: str, /, *parameters: object) -> Sequence[Row]:
    return await connection.fetch(for_schema(sql, schema), *parameters)


async def _pause(attempts: int, *, longest: float) -> None:
    await asyncio.sleep(min(FIRST_PAUSE * 2**attempts, longest) * uniform(0.75, 1.25))  # noqa: S311 -- spreads the load
