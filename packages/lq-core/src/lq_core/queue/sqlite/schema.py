"""
Opens the file and brings its schema up to date; safe to do from several processes at once.

The version of the schema is the number of the last migration, kept in ``PRAGMA user_version``.
"""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import Final, TypeVar

from lq_core.errors import SchemaError, StorageError
from lq_core.queue.messages import Migration
from lq_core.queue.sqlite import statements as sql
from lq_core.queue.sqlite.config import PATH_VARIABLE, SQLiteConfig
from lq_core.queue.sqlite.trouble import is_busy

APPLICATION_ID: Final = 0x6C71_0001
"""Marks the file as one of lq: ``PRAGMA application_id``."""

PATIENCE: Final = 30.0
"""How many seconds somebody else's lock is waited for."""

NEEDED: Final = (3, 35)
"""The first version of SQLite with ``RETURNING``."""

Answer = TypeVar("Answer")


def connect(settings: SQLiteConfig, path: Path) -> sqlite3.Connection:
    """Open a connection for one thread at a time; transactions are begun by hand and nothing waits inside SQLite."""
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
    """Do it, and again as long as the file is locked; SQLite's own waiting sleeps far too long."""
    patience_ends = time.monotonic() + PATIENCE
    pause = 0.000_2
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > patience_ends:
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 -- spreads the attempts, keeps no secret
        pause = min(pause * 1.5, 0.005)


def prepare(connection: sqlite3.Connection, settings: SQLiteConfig, path: Path) -> None:
    """
    Turn on the write-ahead log, and migrate.

    Raises SchemaError when the schema is newer than this code, somebody else's, or old and not to be migrated.
    """
    version = patiently(lambda: _look(connection, path))
    if version < _newest() and not settings.auto_migrate:
        raise SchemaError(
            f"The schema of {path} is at version {version}, and this lq needs {_newest()}. "
            f"Run: {PATH_VARIABLE}={quote(str(path))} lq migrate"
        )
    patiently(lambda: _use_wal(connection))
    if version < _newest():
        patiently(lambda: connection.execute(sql.BEGIN))
        try:
            _migrate(connection, path)
        except BaseException:
            connection.execute(sql.ROLLBACK)
            raise
        patiently(lambda: connection.execute(sql.COMMIT))


def pending(settings: SQLiteConfig, path: Path) -> Sequence[Migration]:
    """Tell which migrations a file lacks; one that is not there lacks them all, and is not made for the question."""
    version = 0
    if path.exists():
        connection = connect(settings, path)
        try:
            version = patiently(lambda: _look(connection, path))
        finally:
            connection.close()
    return [migration for migration in _migrations() if migration.number > version]


def migrate(settings: SQLiteConfig, path: Path) -> Sequence[Migration]:
    """Bring a file up to date whatever the settings say, and tell what it lacked."""
    lacking = pending(settings, path)
    connection = connect(settings, path)
    try:
        prepare(connection, replace(settings, auto_migrate=True), path)
    finally:
        connection.close()
    return lacking


def _use_wal(connection: sqlite3.Connection) -> None:
    # Only reading makes a connection notice that another process has turned the log on in the meantime;
    # without it, it would ask for a lock that it can never get any more.
    _read(connection, sql.TABLES)
    if _read(connection, sql.JOURNAL) != "wal":
        connection.execute(sql.USE_WAL).fetchone()


def _look(connection: sqlite3.Connection, path: Path) -> int:
    # In one transaction, or another process may migrate between two of the looks.
    connection.execute(sql.BEGIN_READING)
    try:
        return _check(connection, path)
    finally:
        connection.execute(sql.ROLLBACK)


def _check(connection: sqlite3.Connection, path: Path) -> int:
    version = int(_read(connection, sql.SCHEMA_VERSION))
    if int(_read(connection, sql.APPLICATION)) != APPLICATION_ID and (version or _read(connection, sql.TABLES)):
        raise SchemaError(f"{path} is the database of another application. Give the queue a file of its own.")
    if version > _newest():
        raise SchemaError(
            f"The schema of {path} is at version {version}, and this lq knows {_newest()}. Upgrade lq-core."
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    # Another process may have migrated while this one waited for the lock.
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
    for entry in files("lq_core.queue.sqlite.migrations").iterdir():
        number, _, name = entry.name.removesuffix(".sql").partition("_")
        if entry.name.endswith(".sql"):
            note = sql.NOTE_MIGRATION.format(number=int(number), application=APPLICATION_ID)
            script = entry.read_text(encoding="utf-8") + note
            found.append(Migration(number=int(number), name=name, sql=script))
    return sorted(found, key=lambda migration: migration.number)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
