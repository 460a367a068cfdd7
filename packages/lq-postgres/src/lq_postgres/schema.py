"""
The schema and its versions: numbered SQL files, each applied once, in order, under a lock.

A file begins with ``-- Code that knows migration N may run beside this.``: workers of before and after a deploy run
side by side, as long as the older ones know migration N.
"""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from lq_core.errors import SchemaError
from lq_core.queue import Migration as CoreMigration
from lq_postgres.driver import Connection
from lq_postgres.faults import MIGRATE
from lq_postgres.statements import versions
from lq_postgres.statements.writing import for_schema

_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_BESIDE: Final = re.compile(r"-- Code that knows migration (\d+) may run beside this\.")


class Migration(CoreMigration, frozen=True, kw_only=True):
    """One numbered step of the schema, as SQL for the schema that was chosen."""

    runs_beside: int
    """The oldest migration that running code must know to go on beside this one."""


def migrations(schema: str = "lq") -> Sequence[Migration]:
    """Read every migration of this package, in order."""
    found: list[Migration] = []
    for file in files("lq_postgres.migrations").iterdir():
        name = _NAME.fullmatch(file.name)
        if name is None:
            continue
        sql = file.read_text(encoding="utf-8")
        beside = _BESIDE.match(sql)
        assert beside is not None, f"{file.name} does not begin with what may run beside it"
        sql = "".join([versions.CREATE_SCHEMA, sql, versions.NOTE_MIGRATION.format(*name.groups(), beside[1])])
        found.append(
            Migration(number=int(name[1]), name=name[2], runs_beside=int(beside[1]), sql=for_schema(sql, schema))
        )
    return sorted(found, key=lambda migration: migration.number)


class Schema:
    """The schema as it stands in one database."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._migrations = migrations(name)

    async def pending(self) -> Sequence[Migration]:
        """
        Tell which migrations have not been applied.

        Raises SchemaError when the database is too new for this code.
        """
        version, runs_beside = await self._versions()
        known = self._migrations[-1].number
        if runs_beside > known:
            raise SchemaError(
                f"The schema {self._name!r} is at migration {version} and needs code that knows migration "
                f"{runs_beside}; this lq-postgres knows {known}. Upgrade it here: pip install --upgrade lq-postgres"
            )
        return [migration for migration in self._migrations if migration.number > version]

    async def migrate(self) -> Sequence[Migration]:
        """Apply what is pending, all or nothing, one process at a time, and tell what it was."""
        if not await self.pending():
            return []
        async with self._connection.transaction(isolation="read_committed"):
            await self._fetch(versions.LOCK_SCHEMA)
            applied = await self.pending()
            for migration in applied:
                _ = await self._connection.execute(migration.sql)
        return applied

    async def check(self) -> None:
        """Refuse a schema that is not up to date: raises SchemaError."""
        pending = await self.pending()
        if pending:
            names = ", ".join(f"{migration.number:04}_{migration.name}" for migration in pending)
            raise SchemaError(f"The schema {self._name!r} lacks {names}. Run: {MIGRATE}")

    async def version(self) -> int:
        """Tell the last migration that the database has had, perhaps one that this code does not know; 0 for none."""
        return (await self._versions())[0]

    async def _versions(self) -> Sequence[int]:
        [[exists]] = await self._fetch(versions.SCHEMA_EXISTS)
        return (await self._fetch(versions.SCHEMA_VERSION))[0] if exists else (0, 0)

    async def _fetch(self, sql: str) -> Sequence[Sequence[int]]:
        rows = await self._connection.fetch(for_schema(sql, self._name))
        return [[*row] for row in rows]
