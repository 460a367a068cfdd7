"""
The schema, as numbered SQL files that are applied once, in order, under a lock.

A file begins with ``-- Code that knows migration N may run beside this.``, so older workers can run during a deploy.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lq_core.foundation.errors import SchemaError, StorageError
from lq_core.queue import Migration as CoreMigration
from lq_postgres.connection.driver import Fetch
from lq_postgres.connection.faults import MIGRATE
from lq_postgres.statements import versions
from lq_postgres.statements.writing import for_schema

_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_BESIDE: Final = re.compile(r"-- Code that knows migration (\d+) may run beside this\.")


class Migration(CoreMigration, frozen=True, kw_only=True):
    """One numbered step, as SQL for the chosen schema."""

    runs_beside: int
    """The oldest migration that code must know to run beside this one."""


def migrations(schema: str = "lq") -> Sequence[Migration]:
    """Read every migration of this package, in order."""
    found: list[Migration] = []
    for file in (Path(__file__).parents[1] / "migrations").iterdir():
        name = _NAME.fullmatch(file.name)
        if name is None:
            continue
        sql = file.read_text(encoding="utf-8")
        beside = _BESIDE.match(sql)
        assert beside is not None, f"{file.name} does not begin with the code that may run beside it"
        sql = "".join([versions.CREATE_SCHEMA, sql, versions.NOTE_MIGRATION.format(*name.groups(), beside[1])])
        found.append(
            Migration(number=int(name[1]), name=name[2], runs_beside=int(beside[1]), sql=for_schema(sql, schema))
        )
    return sorted(found, key=lambda migration: migration.number)


class Schema:
    """The schema in one database."""

    def __init__(self, fetch: Fetch, name: str) -> None:
        self._fetch = fetch
        self._name = name
        self._migrations = migrations(name)

    async def pending(self) -> Sequence[Migration]:
        """Return the missing migrations; raise SchemaError if the database is too new for this code."""
        version, runs_beside = await self._versions()
        known = self._migrations[-1].number
        if runs_beside > known:
            raise SchemaError(
                f"The schema {self._name!r} is at migration {version} and needs code that knows migration "
                f"{runs_beside}; this lq-postgres knows {known}. Upgrade it here: pip install --upgrade lq-postgres"
            )
        return [migration for migration in self._migrations if migration.number > version]

    async def check(self) -> None:
        """Raise SchemaError if the schema is not up to date."""
        pending = await self.pending()
        if pending:
            names = ", ".join(f"{migration.number:04}_{migration.name}" for migration in pending)
            raise SchemaError(
                f"The schema {self._name!r} is at migration {await self.version()} and lacks {names}; this lq-postgres "
                f"needs {self._migrations[-1].number}. Run: {MIGRATE}"
            )

    async def version(self) -> int:
        """Return the number of the last migration of the database, or 0; this code may not know that migration."""
        return (await self._versions())[0]

    async def _versions(self) -> Sequence[int]:
        [[exists, encoding, database]] = await self._fetch(versions.SCHEMA_EXISTS)
        if encoding != "UTF8":
            raise _wrong_encoding(database, encoding)
        return [*(await self._fetch(versions.SCHEMA_VERSION))[0]] if exists else (0, 0)


def _wrong_encoding(database: str, encoding: str) -> StorageError:
    return StorageError(
        f"The database {database} has the encoding {encoding}, which cannot store all text. Use another database: "
        "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
        is_permanent=True,
    )
