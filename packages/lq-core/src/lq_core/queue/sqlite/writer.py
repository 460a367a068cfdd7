"""
The one thread that writes: whatever waits goes into one transaction, and so costs one commit to disk.

Between two transactions it looks whether another process has changed the file.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from os.path import samestat
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from lq_core.queue.sqlite import statements as sql
from lq_core.queue.sqlite.schema import patiently
from lq_core.queue.sqlite.trouble import explain, gone

Answer = TypeVar("Answer")

LOOK_INTERVAL: Final = 0.004
"""Seconds between two looks at what other processes do, while somebody waits for work."""

BATCH_LIMIT: Final = 200
"""How many operations go into one transaction."""


class Operation(Generic[Answer]):
    """
    One thing to do inside a transaction, and who waits for its answer.

    *probe* may answer from a mere read, so that the file is not locked for nothing; None sends it on to *act*.
    Both may be called again if the transaction has to be.
    """

    def __init__(
        self, act: Callable[[sqlite3.Connection], Answer], probe: Callable[[sqlite3.Connection], Answer | None] | None
    ) -> None:
        self.act = act
        self.probe = probe
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.answer: Answer | None = None
        self.error: Exception | None = None

    def resolve(self) -> None:
        """Hand the answer over; called in the event loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answer)  # pyright: ignore[reportArgumentType] -- None is an answer too


class Writer:
    """Owns the writing connection, in a thread of its own; made and used in one event loop."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, on_change: Callable[[], None]) -> None:
        self._connection = connection
        self._path = path
        self._file = path.stat()
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Operation[Any] | None] = SimpleQueue()
        self._watched = False
        self._version = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="lq-sqlite-writer", daemon=True)
        self._thread.start()

    async def submit(
        self,
        act: Callable[[sqlite3.Connection], Answer],
        *,
        probe: Callable[[sqlite3.Connection], Answer | None] | None = None,
    ) -> Answer:
        """Do this in the next transaction, and return its answer once that is on disk."""
        operation = Operation(act, probe)
        self._queue.put(operation)
        return await operation.future

    def watch(self) -> None:
        """Look for changes by other processes until the next one is found."""
        if not self._watched:
            self._watched = True
            self._queue.put(None)

    async def close(self) -> None:
        """Finish what has been handed in, and close the connection."""
        self._closing = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        try:
            while True:
                waiting = self._take()
                if waiting:
                    self._work(waiting)
                if self._closing and self._queue.empty():
                    return  # Also when the word to close came together with the last operations.
                self._look()
        finally:
            self._connection.close()

    def _take(self) -> list[Operation[Any]]:
        taken: list[Operation[Any]] = []
        try:
            first = self._queue.get(timeout=LOOK_INTERVAL if self._watched else None)
            while True:
                if first is not None:
                    taken.append(first)
                if len(taken) == BATCH_LIMIT:
                    break
                first = self._queue.get_nowait()
        except Empty:
            pass
        return taken

    def _look(self) -> None:
        # This connection's own commits do not change its data_version.
        if not self._watched:
            return
        try:
            (version,) = self._connection.execute(sql.DATA_VERSION).fetchone()
        except sqlite3.Error:
            # Whatever it is, the next operation meets it too, and tells its caller.
            return
        if version != self._version:
            self._version = version
            self._watched = False
            self._tell(self._on_change)

    def _work(self, waiting: list[Operation[Any]]) -> None:
        rest = waiting
        try:
            if len(waiting) == 1:
                rest = [operation for operation in waiting if not self._answered_by_reading(operation)]
            if rest:
                self._commit(rest)
        except Exception as error:  # noqa: BLE001 -- whatever it is, who waits gets it, and the thread goes on
            self._part(rest, error)
        self._tell(lambda: [operation.resolve() for operation in waiting])

    def _answered_by_reading(self, operation: Operation[Any]) -> bool:
        if operation.probe is None:
            return False
        probe = operation.probe
        operation.answer = patiently(lambda: probe(self._connection))
        return operation.answer is not None

    def _commit(self, operations: list[Operation[Any]]) -> None:
        connection = self._connection
        self._check_file()
        patiently(lambda: connection.execute(sql.BEGIN))
        try:
            for operation in operations:
                operation.answer = operation.act(connection)
            patiently(lambda: connection.execute(sql.COMMIT))
        except BaseException:
            if connection.in_transaction:
                connection.execute(sql.ROLLBACK)
            raise

    def _check_file(self) -> None:
        # SQLite writes on happily to a file that no longer has a name, and that no other process will ever see.
        try:
            if samestat(self._path.stat(), self._file):
                return
        except OSError:
            pass
        raise gone(self._path)

    def _part(self, operations: list[Operation[Any]], error: Exception) -> None:
        if isinstance(error, sqlite3.OperationalError) or len(operations) == 1:
            for operation in operations:
                operation.error = self._translate(error)
            return
        # One operation cannot be done: it fails alone.
        for operation in operations:
            try:
                self._commit([operation])
            except Exception as its_own:  # noqa: BLE001 -- as above
                operation.error = self._translate(its_own)

    def _translate(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        return explain(error, self._path)

    def _tell(self, callback: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop was closed without closing the backend: nobody waits any more.
            self._closing = True
