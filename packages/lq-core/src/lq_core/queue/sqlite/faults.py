"""Turns the errors of SQLite into messages that name the file and give advice."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lq_core.foundation.errors import StorageError

ELSEWHERE: Final = "or choose another file with SQLiteConfig(path=...) or LQ_SQLITE_PATH."

_MAY_NOT = f"this process may not write it. Allow it to write the file and its folder, {ELSEWHERE}"
_LOCKED = "another process has kept it locked. Find the process that holds a transaction open, and end it."

_ADVICE: Final = {
    sqlite3.SQLITE_NOTADB: f"it is not an SQLite database. Move the file away, {ELSEWHERE}",
    sqlite3.SQLITE_CORRUPT: f"it is damaged. End every process that uses it and restore it from a copy, {ELSEWHERE}",
    sqlite3.SQLITE_READONLY: _MAY_NOT,
    sqlite3.SQLITE_PERM: _MAY_NOT,
    sqlite3.SQLITE_FULL: f"the disk is full. Free some space, {ELSEWHERE}",
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
}

_PERMANENT: Final = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
    }
)


class FileBusyError(sqlite3.OperationalError):
    """Another process has locked the file: raised where SQLite itself does not see it."""

    sqlite_errorcode = sqlite3.SQLITE_BUSY


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection has locked the file."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def explain_write(error: sqlite3.Error, path: Path) -> Exception:
    """Make the error for the caller who wrote; it is a ValueError where the record is to blame, and not the file."""
    if _code(error) == sqlite3.SQLITE_TOOBIG:
        refused = ValueError(f"SQLite cannot store this record: {error}")
        refused.__cause__ = error
        return refused
    return explain(error, path)


def explain(error: sqlite3.Error, path: Path) -> StorageError:
    """Make the error for the caller of the backend."""
    code = _code(error)
    advice = _cannot_open(path) if code == sqlite3.SQLITE_CANTOPEN else _ADVICE.get(code)
    message = f"The queue's SQLite file {path} cannot be used: {advice or error}"
    explained = StorageError(message, is_permanent=code in _PERMANENT)
    explained.__cause__ = error
    return explained


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Raise the errors of SQLite as :func:`explain` makes them."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path) from error


class FileGoneError(StorageError):
    """The file, or one of the two beside it, was removed or replaced while it was in use."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"The queue's SQLite file {path} was removed or replaced while it was in use, so what is written now could "
            "be lost. Put it back, or end every process that uses the queue and start again; lq creates a missing "
            "file, which is empty. To copy a queue in use: lq backup."
        )


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _cannot_open(path: Path) -> str:
    if path.is_dir():
        return f"it is a directory. Name a file in it, {ELSEWHERE}"
    if not path.parent.is_dir():
        return f"its folder does not exist. Create it with: mkdir -p {path.parent}, {ELSEWHERE}"
    return _MAY_NOT
