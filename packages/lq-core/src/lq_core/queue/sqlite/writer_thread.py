"""
The one thread that writes: the operations that wait share a transaction, and so one commit to disk.

Between two transactions it checks whether another process has changed the file.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from lq_core.queue.sqlite import write_statements as sql
from lq_core.queue.sqlite.connections import Connections
from lq_core.queue.sqlite.faults import FileGoneError, explain_write
from lq_core.queue.sqlite.schema import PATIENCE

Answer = TypeVar("Answer")

LOOK_INTERVAL: Final = 0.004
"""Seconds between two checks for changes by other processes, while a worker waits for work."""

BATCH_LIMIT: Final = 200
"""The most operations in one transaction."""


class Operation(Generic[Answer]):
    """
    One thing to do inside a transaction, and the future of its answer: of the event loop, or of another thread.

    *probe* may give the answer without a write, so that the file is not locked in vain; if it returns None, *act* runs.
    Both may run again when the transaction is repeated.
    """

    def __init__(
        self,
        act: Callable[[sqlite3.Connection], Answer],
        probe: Callable[[sqlite3.Connection], Answer | None] | None,
        future: "asyncio.Future[Answer] | Future[Answer]",
    ) -> None:
        self.act = act
        self.probe = probe
        self.future = future
        self.answer: Answer | None = None
        self.error: Exception | None = None

    def resolve(self) -> None:
        """Set the answer; called in the event loop, unless a thread waits for it."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answer)  # pyright: ignore[reportArgumentType] -- None is an answer too


class Writer:
    """Uses the writing connection in a thread of its own, and closes both; belongs to one event loop."""

    def __init__(self, connections: Connections, path: Path) -> None:
        self._connections = connections
        self._path = path
        self._heard: Callable[[], None] | None = None
        """Called for a change by another process, while a worker waits for work."""
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Operation[Any] | None] = SimpleQueue()
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
        """Run *act* in the next transaction, and return its answer after the commit."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.put(Operation(act, probe, future))
        return await future

    def submit_from_thread(self, act: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Do the same in a plain thread, while the event loop may be blocked. Raises TimeoutError."""
        future = Future[Answer]()
        self._queue.put(Operation(act, None, future))
        return future.result(timeout=PATIENCE)

    def watch(self, heard: Callable[[], None]) -> None:
        """Check for changes by other processes, and call *heard* at the next one."""
        if self._heard is None:
            self._heard = heard
            self._queue.put(None)

    def close(self) -> None:
        """Finish the submitted operations, and close the connections; call it in another thread, because it waits."""
        self._closing = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                waiting = self._take()
                if waiting:
                    self._work(waiting)
                if self._closing and self._queue.empty():
                    return  # The None of close() may have come together with the last operations.
                self._look()
        finally:
            self._connections.close()

    def _take(self) -> list[Operation[Any]]:
        taken: list[Operation[Any] | None] = []
        with suppress(Empty):
            taken.append(self._queue.get(timeout=LOOK_INTERVAL if self._heard else None))
            while len(taken) < BATCH_LIMIT:
                taken.append(self._queue.get_nowait())
        return [operation for operation in taken if operation is not None]

    def _look(self) -> None:
        # This connection's own commits do not change its data_version.
        heard = self._heard
        if heard is None:
            return
        with suppress(sqlite3.Error):  # The next operation meets the same error, and reports it to its caller.
            (version,) = self._connections.writer.execute(sql.DATA_VERSION).fetchone()
            if version != self._version:
                self._version = version
                self._heard = None
                self._call(heard)

    def _work(self, waiting: list[Operation[Any]]) -> None:
        try:
            if len(waiting) > 1 or not self._answered_by_reading(waiting[0]):
                self._commit(waiting)
        except Exception as error:  # noqa: BLE001 -- the callers get the error, and the thread continues
            self._separate(waiting, error)
        for operation in waiting:
            if isinstance(operation.future, Future):
                operation.resolve()
        self._call(lambda: [operation.resolve() for operation in waiting])

    def _answered_by_reading(self, operation: Operation[Any]) -> bool:
        if operation.probe is None:
            return False
        with suppress(FileGoneError):  # A write may heal that.
            operation.answer = self._connections.probe(operation.probe)
        return operation.answer is not None

    def _commit(self, operations: list[Operation[Any]]) -> None:
        def act(connection: sqlite3.Connection) -> None:
            for operation in operations:
                operation.answer = operation.act(connection)

        self._connections.write(act)

    def _separate(self, operations: list[Operation[Any]], error: Exception) -> None:
        if isinstance(error, (sqlite3.OperationalError, FileGoneError)) or len(operations) == 1:
            for operation in operations:
                operation.error = self._translate(error)
            return
        # Repeat one by one, so that an operation that cannot succeed fails alone.
        for operation in operations:
            try:
                self._commit([operation])
            except Exception as its_own:  # noqa: BLE001 -- as above
                operation.error = self._translate(its_own)

    def _translate(self, error: Exception) -> Exception:
        return explain_write(error, self._path) if isinstance(error, sqlite3.Error) else error

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            self._closing = True  # The event loop was closed before the backend.
