"""Copies a SQLite file with SQLite's backup interface, while other processes read and write it."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from lq_core.foundation.errors import StorageError
from lq_core.queue.messages import Backup
from lq_core.queue.sqlite import read_statements as queries
from lq_core.queue.sqlite.config import SQLiteConfig
from lq_core.queue.sqlite.faults import explained
from lq_core.queue.sqlite.schema import connect, patiently, version_of


def back_up(settings: SQLiteConfig, path: Path, target: Path, *, overwrite: bool) -> Backup:
    """
    Copy *path* to *target*, check the copy, and say what is in it.

    Raises StorageError if a file cannot be used, or *target* exists and *overwrite* is False or another program has it
    open. In all these cases, *target* stays as it was.
    """
    target = target.expanduser().absolute()
    _check_target(path, target, overwrite=overwrite)
    unfinished = target.with_name(f"{target.name}.{uuid4().hex}.unfinished")
    try:
        with explained(unfinished), closing(sqlite3.connect(unfinished)) as copy:
            with explained(path), closing(connect(settings, path)) as source:
                patiently(lambda: version_of(source, path))
                # All pages in one step are one moment of the file. Writers go on, because they write to the log.
                source.backup(copy)
            records = _check_copy(copy, target)
        shutil.copymode(path, unfinished)
        unfinished.replace(target)
    except OSError as error:
        raise StorageError(f"The copy {target} cannot be written: {error}") from error
    finally:
        for suffix in ("", "-wal", "-shm"):
            unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)
    return Backup(path=target, records=records, size=target.stat().st_size)


def _check_target(path: Path, target: Path, *, overwrite: bool) -> None:
    if target.exists() and os.path.samefile(path, target):  # noqa: PTH121 -- Path.samefile is no shorter
        raise StorageError(f"{target} is the file of the queue itself. Choose another file for the copy.")
    if target.with_name(f"{target.name}-wal").exists():
        raise StorageError(f"{target} is a database in use, because {target.name}-wal exists. Choose another file.")
    if target.exists() and not overwrite:
        raise StorageError(f"{target} exists. Choose another file, or overwrite it: --force")
    if not target.parent.is_dir():
        raise StorageError(f"The folder of {target} does not exist. Create it with: mkdir -p {target.parent}")


def _check_copy(copy: sqlite3.Connection, target: Path) -> int:
    (found,) = copy.execute(queries.CHECK_ALL).fetchone()
    if found != "ok":
        raise StorageError(f"The copy {target} would be damaged: {found}. Check the file of the queue: lq doctor")
    return copy.execute(queries.COUNT_ALL).fetchone()[0]
