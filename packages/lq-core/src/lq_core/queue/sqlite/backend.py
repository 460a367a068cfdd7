"""The SQLite queue backend: every verb, and which thread answers it."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from lq_core.clock import utc_now
from lq_core.config import QueueConfig
from lq_core.errors import StorageError
from lq_core.event_log import event_log
from lq_core.queue.base import BaseQueueBackend
from lq_core.queue.diagnosis import Finding
from lq_core.queue.messages import (
    Claim,
    Claimed,
    Freed,
    Insertion,
    Migration,
    QueueState,
    RecordFilter,
    Statistics,
    Swap,
    WorkerInfo,
)
from lq_core.queue.sqlite import health, reading, scheduling, schema, writing
from lq_core.queue.sqlite import statements as sql
from lq_core.queue.sqlite.config import SQLiteConfig
from lq_core.queue.sqlite.rows import to_microseconds, to_moment, to_worker
from lq_core.queue.sqlite.schema import connect, patiently, prepare
from lq_core.queue.sqlite.trouble import explain
from lq_core.queue.sqlite.writer import Writer
from lq_core.record import QueuedTaskRecord, TaskStatus
from lq_core.schedule_state import ScheduleState

Answer = TypeVar("Answer")

log = event_log()


class SQLiteQueueBackend(BaseQueueBackend):
    """
    Keeps records in one SQLite file, which the processes of one machine may share.

    One thread writes and one reads, each on its own connection. Put the file on a local disk: the locks of
    network file systems cannot be trusted.
    """

    def __init__(
        self,
        config: QueueConfig | None = None,
        *,
        settings: SQLiteConfig | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(config, clock=clock)
        self.settings = settings or SQLiteConfig()
        self.path = Path(self.settings.path).expanduser().absolute()
        self._writer: Writer | None = None
        self._reader: tuple[ThreadPoolExecutor, sqlite3.Connection] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {'open' if self._writer else 'closed'}>"

    @property
    def address(self) -> str:
        return f"sqlite:{self.path}"

    async def open(self) -> None:
        """
        Open the file, and bring its schema up to date.

        Raises StorageError when the file cannot be used, SchemaError when its schema does not fit.
        """
        if self._writer is not None:
            return
        try:
            writing_connection, reading_connection = await asyncio.to_thread(self._connect)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        self._reader = ThreadPoolExecutor(1, "lq-sqlite-reader"), reading_connection
        self._writer = Writer(writing_connection, self.path, on_change=self.wake)
        log.info("sqlite.opened", extra={"path": str(self.path)})

    async def close(self) -> None:
        writer, reader, self._writer, self._reader = self._writer, self._reader, None, None
        if writer is not None:
            await writer.close()
        if reader is not None:
            thread, connection = reader
            await asyncio.to_thread(thread.shutdown)
            connection.close()

    async def insert(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """Store new records; an idle worker of this process gets ready to claim them meanwhile."""
        self.wake()
        return await self._inserts.submit(records)

    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        return await self._write(lambda connection: writing.insert(connection, records, at=self.now()))

    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        return await self._write(lambda connection: writing.amend(connection, swaps, at=self.now()))

    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        def act(connection: sqlite3.Connection) -> tuple[Sequence[bool], Claimed]:
            kept = writing.swap(connection, swaps, at=self.now())
            return kept, Claimed() if claim is None else writing.claim(connection, claim, at=self.now())

        def probe(connection: sqlite3.Connection) -> tuple[Sequence[bool], Claimed] | None:
            if swaps or claim is None:
                return None
            nothing = writing.find_nothing_to_claim(connection, claim, at=self.now())
            return None if nothing is None else ([], nothing)

        return await self._write(act, probe=probe)

    async def get_many(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        return await self._read(lambda connection: reading.get_many(connection, ids))

    async def find(
        self, condition: RecordFilter, *, limit: int = 100, before: UUID | None = None, after: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        return await self._read(
            lambda connection: reading.find(connection, condition, limit=limit, before=before, after=after)
        )

    async def count(self, condition: RecordFilter) -> int:
        return await self._read(lambda connection: reading.count(connection, condition))

    async def statistics(self) -> Statistics:
        return await self._read(lambda connection: reading.statistics(connection, at=self.now()))

    async def register(self, worker: WorkerInfo) -> None:
        await self._write(lambda connection: connection.execute(sql.REGISTER, to_worker(worker, at=self.now())))

    async def beat(self, worker_id: str) -> bool:
        values = {"worker_id": worker_id, "at": to_microseconds(self.now())}
        return await self._write(lambda connection: connection.execute(sql.BEAT, values).rowcount == 1)

    async def retire(self, worker_id: str) -> None:
        await self._write(lambda connection: connection.execute(sql.RETIRE, {"worker_id": worker_id}))

    async def workers(self) -> Sequence[WorkerInfo]:
        return await self._read(reading.workers)

    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        at = self.now()
        lapsed = at - timedelta(seconds=timeout)
        return await self._write(
            lambda connection: writing.bury_and_find_orphans(connection, at=at, lapsed=lapsed, limit=limit),
            probe=lambda connection: writing.find_orphans_of_the_buried(connection, at=at, lapsed=lapsed, limit=limit),
        )

    async def overdue(self, *, limit: int) -> Sequence[QueuedTaskRecord]:
        return await self._read(lambda connection: reading.overdue(connection, at=self.now(), limit=limit))

    async def freed(self, *, limit: int) -> Freed:
        return await self._read(lambda connection: reading.freed(connection, limit=limit))

    async def request_cancel(self, record_id: UUID, epoch: int) -> bool:
        values = {"id": record_id.bytes, "epoch": epoch}
        return await self._write(lambda connection: connection.execute(sql.REQUEST_CANCEL, values).rowcount == 1)

    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        return await self._read(reading.cancel_requests)

    async def delete_ended(self, *, status: TaskStatus, before: datetime, limit: int) -> int:
        return await self._write(
            lambda connection: writing.delete_ended(
                connection, status=status, before=before, limit=limit, at=self.now()
            ),
            probe=lambda connection: writing.find_nothing_to_delete(
                connection, status=status, before=before, at=self.now()
            ),
        )

    async def delete_many(self, ids: Sequence[UUID]) -> int:
        return await self._write(lambda connection: writing.delete_many(connection, ids, at=self.now()))

    async def next_due(self, claim: Claim) -> datetime | None:
        due, _ = await self._read(lambda connection: writing.look_ahead(connection, claim, at=self.now()))
        return None if due is None else to_moment(due)

    async def swap_queue(self, queue: str, old: QueueState, new: QueueState) -> bool:
        kept = await self._write(lambda connection: writing.swap_queue(connection, queue, old, new))
        self.wake()
        return kept

    async def queues(self) -> Mapping[str, QueueState]:
        return await self._read(reading.queues)

    async def diagnose(self) -> Sequence[Finding]:
        """Look at the file and its disk, and at what can hurt any queue."""
        journal = await self._read(health.journal)
        surroundings = await asyncio.to_thread(health.surroundings, self.path)
        return [journal, *surroundings, *await super().diagnose()]

    async def pending_migrations(self) -> Sequence[Migration]:
        """Tell which migrations the file lacks; a file that is not there is not made."""
        return await self._look_at_the_schema(schema.pending)

    async def migrate(self) -> Sequence[Migration]:
        return await self._look_at_the_schema(schema.migrate)

    async def schedules(self) -> Sequence[ScheduleState]:
        return await self._read(scheduling.schedules)

    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        saved = await self._write(lambda connection: scheduling.save(connection, state, records, at=self.now()))
        self.wake()
        return saved

    async def wait_for_work(self, changes: int, *, timeout: float) -> None:
        """Return when this or another process may have brought work, or after *timeout* seconds."""
        if self._writer is not None:
            self._writer.watch()
        await super().wait_for_work(changes, timeout=timeout)

    async def _look_at_the_schema(
        self, act: Callable[[SQLiteConfig, Path], Sequence[Migration]]
    ) -> Sequence[Migration]:
        try:
            return await asyncio.to_thread(act, self.settings, self.path)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def _connect(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        connection = connect(self.settings, self.path)
        try:
            prepare(connection, self.settings, self.path)
            reader = connect(self.settings, self.path)
            patiently(lambda: reader.execute(sql.READ_ONLY))
        except BaseException:
            connection.close()
            raise
        return connection, reader

    async def _write(
        self,
        act: Callable[[sqlite3.Connection], Answer],
        *,
        probe: Callable[[sqlite3.Connection], Answer | None] | None = None,
    ) -> Answer:
        if self._writer is None:
            raise StorageError(f"{self!r} is not open. Use it inside: async with QueueService(...)")
        return await self._writer.submit(act, probe=probe)

    async def _read(self, action: Callable[[sqlite3.Connection], Answer]) -> Answer:
        if self._reader is None:
            raise StorageError(f"{self!r} is not open. Use it inside: async with QueueService(...)")
        thread, connection = self._reader
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, patiently, lambda: action(connection))
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
