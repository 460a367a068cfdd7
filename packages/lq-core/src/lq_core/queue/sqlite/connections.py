"""
The two connections to one SQLite file, and whether they still lead to the files that other processes see.

SQLite also writes to a file, or to a write-ahead log, that has been deleted, and that nobody will ever see again.
"""

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from uuid import uuid4

from lq_core.foundation.errors import StorageError
from lq_core.foundation.event_log import event_log
from lq_core.queue.sqlite import read_statements as queries
from lq_core.queue.sqlite import write_statements as sql
from lq_core.queue.sqlite.config import SQLiteConfig
from lq_core.queue.sqlite.faults import FileBusyError, FileGoneError
from lq_core.queue.sqlite.file_locks import NO_LOCKS, FileLocks, Identity, descriptors, identity_of
from lq_core.queue.sqlite.schema import connect, patiently, prepare, transaction

Answer = TypeVar("Answer")

log = event_log()

_FRAMES: Final = 16
_COPIED_FRAMES: Final = 96
"""Where the ``-shm`` file says how many frames the log has, and how many of them were copied to the file."""

_connecting: Final = threading.Lock()


class Files(NamedTuple):
    """The three files of a database, as they are at their paths; None for a missing one."""

    main: Identity | None
    log: Identity | None
    log_index: Identity | None


class Connections:
    """
    The writing connection, for one thread, and the reading one, for another.

    Raises sqlite3.Error if the file cannot be used, and SchemaError if its schema does not fit.
    """

    def __init__(self, settings: SQLiteConfig, path: Path) -> None:
        self._settings = settings
        self._path = path
        beside = path.resolve()  # SQLite puts the log beside the file to which a link leads.
        self._paths = (str(path), f"{beside}-wal", f"{beside}-shm")
        self._reading = threading.Lock()
        self._opened: Files | None = None
        """The files as they were opened; None when they must be opened again."""
        self._locks = NO_LOCKS
        self._open()

    def read(self, action: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Read from the file. Raises FileGoneError if the answer is from a file that is gone; a write may heal that."""
        with self._reading:
            return self._answer(self._reader, action)

    def probe(self, action: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Read as :meth:`read` does, with the writing connection."""
        return self._answer(self.writer, action)

    def write(self, action: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """
        Run a transaction, and return when other processes can see what it has committed.

        When the log is gone, it opens the files again if nothing is lost; otherwise it raises FileGoneError.
        """
        patiently(self._locks.begin)
        try:
            while self._renew():
                patiently(self._locks.begin)
            with transaction(self.writer):
                answer = action(self.writer)
            self._renew(has_committed=True)
            return answer
        finally:
            self._locks.end()

    def version(self, connection: sqlite3.Connection) -> str:
        """Return a text that is the same only while nobody writes to the file."""
        return f"{self._opened_as}-{connection.execute(queries.DATA_VERSION).fetchone()[0]}"

    def close(self) -> None:
        """Close both connections, and let SQLite delete the log if they were the last ones."""
        with suppress(StorageError, sqlite3.Error):
            self._renew()
        there = self._look()
        if self._opened is not None and there.log == self._opened.log:
            self._locks.release()
        self._close()

    # ------------------------------------------------------------ files that are gone

    def _answer(self, connection: sqlite3.Connection, action: Callable[[sqlite3.Connection], Answer]) -> Answer:
        try:
            return patiently(lambda: action(connection))
        finally:
            if self._look() != self._opened:
                raise FileGoneError(self._path)

    def _look(self) -> Files:
        return Files(*map(identity_of, self._paths))

    def _renew(self, *, has_committed: bool = False) -> bool:
        """Open the files again if they were replaced and nothing is lost; return whether it did."""
        patiently(self._locks.renew)
        there = self._look()
        if there == self._opened:
            return False
        if self._opened is not None:
            self._check_that_nothing_is_lost(self._opened, there, has_committed=has_committed)
        with self._reading:
            self._locks.end()
            self._close()
            self._open()
        log.warning("sqlite.reopened", extra={"path": str(self._path)})
        return True

    def _check_that_nothing_is_lost(self, opened: Files, there: Files, *, has_committed: bool) -> None:
        main, old_log, index = self._paths
        if there.main != opened.main:
            if there.main is None and there.log == opened.log:
                with suppress(sqlite3.Error):
                    patiently(self._empty_log)  # The file was moved, and the log was not.
            raise FileGoneError(main)
        if there.log != opened.log and not self._is_all_in_main(opened, there):
            raise FileGoneError(old_log)
        if there.log == opened.log and has_committed:
            # Another process may have made a new index before this commit, and write over it.
            raise FileGoneError(index)

    def _is_all_in_main(self, opened: Files, there: Files) -> bool:
        """Whether everything in the log that is gone is also in the file; copies it if that is safe."""
        if there.log is None and self._locks.hold:
            # These locks keep SQLite from deleting it. Therefore no process has used another one.
            patiently(self._empty_log)
            return True
        found = descriptors()
        if any(os.fstat(one).st_size == 0 for one in found.get(opened.log, ())):
            return True  # Another process of lq has emptied it.
        for one in found.get(opened.log_index, ()):
            frames, copied = (os.pread(one, 4, place) for place in (_FRAMES, _COPIED_FRAMES))
            return frames == copied
        return False

    def _empty_log(self) -> None:
        is_busy, *_ = self.writer.execute(sql.EMPTY_LOG).fetchone()
        if is_busy:
            raise FileBusyError

    # ------------------------------------------------------------ open and close

    def _open(self) -> None:
        with ExitStack() as undo:
            with _connecting:
                before = descriptors()
                self.writer = connect(self._settings, self._path)
                after = descriptors()
            undo.callback(self.writer.close)
            prepare(self.writer, self._settings, self._path)
            self._reader = connect(self._settings, self._path)
            undo.callback(self._reader.close)
            patiently(lambda: self._reader.execute(sql.READ_ONLY))
            patiently(lambda: self._reader.execute(sql.TABLES).fetchone())  # Opens the log.
            there, found = self._look(), descriptors()
            if found and not all(one in found for one in there):
                raise FileGoneError(self._path)  # Replaced meanwhile, or another connection of the process has it open.
            mine = after.get(there.main, frozenset())
            self._locks = FileLocks(mine - before.get(there.main, frozenset()) or mine, found.get(there.log_index, ()))
            self._opened = there
            self._opened_as = uuid4().hex
            undo.pop_all()

    def _close(self) -> None:
        # While the locks hold, SQLite neither copies the log nor deletes it.
        self._opened = None
        self._reader.close()
        self.writer.close()
        self._locks = NO_LOCKS
