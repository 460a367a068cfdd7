"""What SQLite complains of, in words that say which file it is and what to do."""

import sqlite3
from pathlib import Path
from typing import Final

from lq_core.errors import StorageError

ELSEWHERE: Final = "or choose another file with SQLiteConfig(path=...) or LQ_SQLITE_PATH."

_MAY_NOT = f"this process may not write it. Give it the right to write the file and its folder, {ELSEWHERE}"
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


def is_busy(error: sqlite3.Error) -> bool:
    """Whether the file is locked by somebody else just now."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def explain(error: sqlite3.Error, path: Path) -> StorageError:
    """Make the error that the caller of the backend gets."""
    code = _code(error)
    advice = _cannot_open(path) if code == sqlite3.SQLITE_CANTOPEN else _ADVICE.get(code)
    explained = StorageError(f"The queue's SQLite file {path} cannot be used: {advice or error}")
    explained.__cause__ = error
    return explained


def gone(path: Path) -> StorageError:
    """Make the error for a file that was taken away from under its users."""
    return StorageError(
        f"The queue's SQLite file {path} was removed or replaced while it was in use. "
        "Put it back, or end every process that uses it and start again; a missing file is made anew, and empty."
    )


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _cannot_open(path: Path) -> str:
    if path.is_dir():
        return f"it is a directory. Name a file in it, {ELSEWHERE}"
    if not path.parent.is_dir():
        return f"its folder does not exist. Create it with: mkdir -p {path.parent}, {ELSEWHERE}"
    return _MAY_NOT
