"""
Opens the file and brings its schema up to date; several processes may do this at once.

``PRAGMA user_version`` is the oldest migration that code must know, as the first line of a migration says:
``-- Code that knows migration N may run beside this.`` So older processes can run during a deploy.
"""

import random
import re
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Final, TypeVar

from lq_core.foundation.errors import SchemaError, StorageError
from lq_core.queue.messages import Migration
from lq_core.queue.sqlite import write_statements as sql
from lq_core.queue.sqlite.config import PATH_VARIABLE, SQLiteConfig
from lq_core.queue.sqlite.faults import is_busy

APPLICATION_ID: Final = 0x6C71_0001
"""Marks a file of lq: ``PRAGMA application_id``."""

PATIENCE: Final = 30.0
"""How many seconds to wait for the lock of another connection."""

_BESIDE: Final = re.compile(r"-- Code that knows migration (\d+) may run beside this\.")

NEEDED: Final = (3, 35)
"""The first version of SQLite that has ``RETURNING``."""

Answer = TypeVar("Answer")


def connect(settings: SQLiteConfig, path: Path) -> sqlite3.Connection:
    """Open a connection in autocommit mode that may move between threads and never waits inside SQLite."""
    if sqlite3.sqlite_version_info < NEEDED:
        raise StorageError(
            f"Python was built with SQLite {sqlite3.sqlite_version}; the queue needs 3.35 or newer. "
            "Use a newer Python image, or another queue backend."
        )
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        patiently(lambda: connection.execute(sql.SYNCHRONOUS[settings.synchronous]))
    except BaseException:
        connection.close()
        raise
    return connection


def patiently(action: Callable[[], Answer]) -> Answer:
    """Repeat an action while the file is locked; SQLite's own wait sleeps far too long."""
    patience_ends, pause = 0.0, 0.000_2
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            patience_ends = patience_ends or time.monotonic() + PATIENCE
            if not is_busy(error) or time.monotonic() > patience_ends:
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 -- spreads the attempts
        pause = min(pause * 1.5, 0.005)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Commit what is written inside, or roll it back after an error."""
    patiently(lambda: connection.execute(sql.BEGIN))
    try:
        yield
        patiently(lambda: connection.execute(sql.COMMIT))
    except BaseException:
        if connection.in_transaction:
            connection.execute(sql.ROLLBACK)
        raise


def prepare(connection: sqlite3.Connection, settings: SQLiteConfig, path: Path) -> None:
    """
    Turn on the write-ahead log, and migrate.

    Raises SchemaError if the schema is newer than this code, of another application, or old without ``auto_migrate``.
    """
    version = patiently(lambda: version_of(connection, path))
    if version < _newest() and not settings.auto_migrate:
        raise SchemaError(
            f"The schema of {path} is at version {version}, and this lq needs {_newest()}. "
            f"Run: {PATH_VARIABLE}={quote(str(path))} lq migrate"
        )
    patiently(lambda: _use_wal(connection))
    if version < _newest():
        with transaction(connection):
            _migrate(connection, path)


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """Read the version of the schema. Raises SchemaError if it is newer than this code, or of another application."""
    # In one transaction, or another process may migrate between two reads.
    connection.execute(sql.BEGIN_READING)
    try:
        return _check(connection, path)
    finally:
        connection.execute(sql.ROLLBACK)


def pending(settings: SQLiteConfig, path: Path) -> Sequence[Migration]:
    """List the migrations that a file lacks; a missing file lacks all, and is not created."""
    version = 0
    if path.exists():
        with closing(connect(settings, path)) as connection:
            version = patiently(lambda: version_of(connection, path))
    return [migration for migration in _migrations() if migration.number > version]


def migrate(settings: SQLiteConfig, path: Path) -> Sequence[Migration]:
    """Bring a file up to date, also without ``auto_migrate``, and list what it lacked."""
    missing = pending(settings, path)
    with closing(connect(settings, path)) as connection:
        prepare(connection, replace(settings, auto_migrate=True), path)
    return missing


def _use_wal(connection: sqlite3.Connection) -> None:
    # Only a read shows that another process has turned the log on meanwhile. Without it, this connection would ask
    # for a lock that it can never get.
    _read(connection, sql.TABLES)
    if _read(connection, sql.JOURNAL) != "wal":
        connection.execute(sql.USE_WAL).fetchone()


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """Return the number of the last migration. Raises SchemaError if this code cannot use the file."""
    version = int(_read(connection, sql.SCHEMA_VERSION))
    if int(_read(connection, sql.APPLICATION)) != APPLICATION_ID and (version or _read(connection, sql.TABLES)):
        raise SchemaError(f"{path} is the database of another application. Give the queue a file of its own.")
    if version > _newest():
        raise SchemaError(
            f"The schema of {path} is at version {version}, and this lq knows {_newest()}. Upgrade lq-core."
        )
    if not _read(connection, sql.LISTS_MIGRATIONS):
        return version
    return max(version, int(_read(connection, sql.LAST_MIGRATION)))


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    # Another process may have migrated meanwhile.
    version = _check(connection, path)
    for migration in _migrations():
        if migration.number > version:
            for statement in _statements(migration.sql):
                connection.execute(statement)


def _read(connection: sqlite3.Connection, pragma: str) -> str | int:
    return connection.execute(pragma).fetchone()[0]


def _newest() -> int:
    return _migrations()[-1].number


@cache
def _migrations() -> Sequence[Migration]:
    found: list[Migration] = []
    runs_beside = 0
    for entry in sorted(Path(__file__).with_name("migrations").glob("*.sql")):
        number, _, name = entry.stem.partition("_")
        script = entry.read_text(encoding="utf-8")
        beside = _BESIDE.match(script)
        runs_beside = max(runs_beside, int(beside[1] if beside else number))
        note = sql.NOTE_MIGRATION.format(number=int(number), runs_beside=runs_beside, application=APPLICATION_ID)
        found.append(Migration(number=int(number), name=name, sql=script + note))
    return found


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
