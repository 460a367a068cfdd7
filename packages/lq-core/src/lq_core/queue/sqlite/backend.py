"""The SQLite queue backend: each method of the store, and the thread that runs it."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import ClassVar, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.clock import utc_now
from lq_core.foundation.errors import StorageError
from lq_core.foundation.event_log import event_log
from lq_core.foundation.new_thread import in_new_thread, open_in_new_thread
from lq_core.queue.base import BaseQueueBackend
from lq_core.queue.capabilities import (
    Actions,
    Backups,
    Findings,
    Migrations,
    Notifications,
    Rollups,
    Successors,
    ThreadHeartbeats,
    Versions,
)
from lq_core.queue.diagnosis import Finding
from lq_core.queue.kept_statistics import KeptStatistics
from lq_core.queue.messages import (
    Action,
    Backup,
    Claim,
    Claimed,
    Insertion,
    Migration,
    QueueState,
    RecordFilter,
    Statistics,
    Swap,
    Unblocked,
    WorkerInfo,
)
from lq_core.queue.rollups import Rollup
from lq_core.queue.sqlite import dashboard_rows, health, reading, schema, writing
from lq_core.queue.sqlite import read_statements as queries
from lq_core.queue.sqlite import write_statements as sql
from lq_core.queue.sqlite.backup import back_up
from lq_core.queue.sqlite.config import SQLiteConfig
from lq_core.queue.sqlite.connections import Connections
from lq_core.queue.sqlite.faults import FileGoneError, explained
from lq_core.queue.sqlite.partitions import HeldKeys
from lq_core.queue.sqlite.rows import to_microseconds, to_moment, to_worker
from lq_core.queue.sqlite.writer_thread import Writer
from lq_core.records.record import QueuedTaskRecord, TaskStatus
from lq_core.schedules.schedule_state import ScheduleState

Answer = TypeVar("Answer")
Parameters = ParamSpec("Parameters")

log = event_log()


class SQLiteQueueBackend(
    BaseQueueBackend,
    Notifications,
    Successors,
    Rollups,
    Actions,
    Versions,
    ThreadHeartbeats,
    Migrations,
    Findings,
    Backups,
):
    """
    Stores records in one SQLite file, which the processes of one machine may share.

    One thread writes and one reads, each on its own connection. Put the file on a local disk, because the locks of
    network file systems are not reliable.
    """

    claims_follow_inserts: ClassVar[bool] = True
    follows_held_keys: ClassVar[bool] = True
    takes_turns: ClassVar[bool] = True

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
        self._reader: tuple[ThreadPoolExecutor, Connections] | None = None
        self._held: HeldKeys = {}
        self._statistics = KeptStatistics()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {'open' if self._writer else 'closed'}>"

    @property
    def address(self) -> str:
        return f"sqlite:{self.path}"

    @property
    def own_file(self) -> Path | None:
        return self.path.resolve()

    async def open(self) -> None:
        """
        Open the file, and bring its schema up to date.

        Raises StorageError if the file cannot be used, and SchemaError if its schema does not fit.
        """
        if self._writer is not None:
            return
        with explained(self.path):
            settings = replace(self.settings, auto_migrate=self.settings.auto_migrate and self.may_migrate)
            opening = partial(Connections, settings, self.path)
            connections = await open_in_new_thread(opening, close=Connections.close)
        if self._writer is not None:  # Another caller has opened it meanwhile.
            connections.close()
            return
        self._reader = ThreadPoolExecutor(1, "lq-sqlite-reader"), connections
        self._writer = Writer(connections, self.path)
        log.info("sqlite.opened", extra={"path": str(self.path)})

    async def close(self) -> None:
        writer, reader, self._writer, self._reader = self._writer, self._reader, None, None
        if writer is not None and reader is not None:
            await in_new_thread(_close, writer, reader[0])  # Whoever is cancelled meanwhile only stops waiting.

    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        return await self._write(lambda connection: writing.insert(connection, records, at=self.now()))

    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        return await self._write(lambda connection: writing.amend(connection, swaps, at=self.now()))

    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        def act(connection: sqlite3.Connection) -> tuple[Sequence[bool], Claimed]:
            kept = writing.swap(connection, swaps, at=self.now())
            return kept, Claimed() if claim is None else writing.claim(
                connection, claim, at=self.now(), held=self._held
            )

        def probe(connection: sqlite3.Connection) -> tuple[Sequence[bool], Claimed] | None:
            if swaps or claim is None:
                return None
            nothing = writing.find_nothing_to_claim(connection, claim, at=self.now(), held=self._held)
            return None if nothing is None else ([], nothing)

        return await self._write(act, probe=probe)

    async def get_many(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        return await self._read(reading.get_many, ids)

    async def find(
        self, condition: RecordFilter, *, limit: int = 100, before: UUID | None = None, after: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        return await self._read(reading.find, condition, limit=limit, before=before, after=after)

    async def count(self, condition: RecordFilter) -> int:
        return await self._read(reading.count, condition)

    async def statistics(self) -> Statistics:
        """Count the records; if a count is slow, its result is kept for ten times as long as it took."""
        return await self._statistics.read(lambda: self._read(reading.statistics, at=self.now()))

    async def version(self) -> str:
        return await self._read(self._opened_reader()[1].version)

    async def register(self, worker: WorkerInfo) -> None:
        await self._write(lambda connection: connection.execute(sql.REGISTER, to_worker(worker, at=self.now())))

    async def beat(self, worker_id: str) -> bool:
        return await self._write(lambda connection: writing.beat(connection, worker_id, at=self.now()))

    def beat_from_thread(self, worker_id: str) -> bool:
        if self._writer is None:
            raise self._not_open()
        return self._writer.submit_from_thread(lambda connection: writing.beat(connection, worker_id, at=self.now()))

    async def retire(self, worker_id: str) -> None:
        await self._write(lambda connection: connection.execute(sql.RETIRE, {"worker_id": worker_id}))

    async def workers(self) -> Sequence[WorkerInfo]:
        return await self._read(reading.workers)

    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        # Nobody can beat while the file is locked, so the time that this waits for it does not count as silence.
        asked_at = to_microseconds(self.now())
        lapsed = asked_at - int(timeout * 1_000_000)
        if await self._read(reading.has_lapsed, at=asked_at, lapsed=lapsed):
            await self._write(lambda connection: writing.forget_lapsed(connection, at=self.now(), lapsed=lapsed))
        return await self._read(reading.records, sql.ORPHANS, {"limit": limit})

    async def owned(self, worker_id: str) -> Sequence[QueuedTaskRecord]:
        return await self._read(reading.records, sql.OWNED, {"worker_id": worker_id})

    async def overdue(self, *, limit: int) -> Sequence[QueuedTaskRecord]:
        return await self._read(reading.records, queries.OVERDUE, {"at": to_microseconds(self.now()), "limit": limit})

    async def unblocked(self, *, limit: int) -> Unblocked:
        return await self._read(reading.unblocked, limit=limit)

    async def unblocked_by(self, ids: Sequence[UUID], *, limit: int) -> Sequence[QueuedTaskRecord]:
        return await self._read(reading.unblocked_by, ids, limit=limit)

    async def successors(self, record_id: UUID, *, limit: int) -> Sequence[QueuedTaskRecord]:
        return await self._read(reading.records, queries.ALL_SUCCESSORS, {"id": str(record_id), "limit": limit})

    async def request_cancel(self, record_id: UUID, epoch: int) -> bool:
        values = {"id": record_id.bytes, "epoch": epoch}
        return await self._write(lambda connection: connection.execute(sql.REQUEST_CANCEL, values).rowcount == 1)

    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        return await self._read(reading.records, queries.CANCEL_REQUESTS)

    async def delete_ended(self, *, status: TaskStatus, before: datetime, limit: int) -> int:
        ids = await self._read(reading.ended, status=status, before=before, limit=limit, at=self.now())
        if not ids:
            return 0
        return await self._write(lambda connection: writing.delete(connection, ids, at=self.now(), before=before))

    async def delete_many(self, ids: Sequence[UUID]) -> int:
        return await self._write(lambda connection: writing.delete(connection, ids, at=self.now()))

    async def next_due(self, claim: Claim) -> datetime | None:
        due, _ = await self._read(lambda connection: writing.look_ahead(connection, claim, at=self.now(), held={}))
        return None if due is None else to_moment(due)

    async def swap_queue(self, queue: str, old: QueueState, new: QueueState) -> bool:
        return await self._write(lambda connection: writing.swap_queue(connection, queue, old, new))

    async def queues(self) -> Mapping[str, QueueState]:
        return await self._read(reading.queues)

    async def findings(self) -> Sequence[Finding]:
        """Check the file and its disk."""
        journal = await self._read(health.journal)
        return [journal, *await in_new_thread(health.surroundings, self.path)]

    async def missing_migrations(self) -> Sequence[Migration]:
        """List the migrations that the file lacks; does not create a missing file."""
        return await self._look_at_the_schema(schema.pending)

    async def apply_migrations(self) -> Sequence[Migration]:
        return await self._look_at_the_schema(schema.migrate)

    async def copy_to(self, target: Path, *, overwrite: bool) -> Backup:
        return await in_new_thread(back_up, self.settings, self.path, target, overwrite=overwrite)

    async def schedules(self) -> Sequence[ScheduleState]:
        return await self._read(reading.schedules, sql.SCHEDULES)

    async def schedule(self, name: str) -> ScheduleState | None:
        return next(iter(await self._read(reading.schedules, sql.SCHEDULE, {"name": name})), None)

    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        saved = await self._write(lambda connection: writing.save_schedule(connection, state, records, at=self.now()))
        self.wake()
        return saved

    async def add_action(self, action: Action, *, oldest: datetime) -> None:
        await self._write(lambda connection: dashboard_rows.add_action(connection, action, oldest=oldest))

    async def actions(self, *, limit: int) -> Sequence[Action]:
        return await self._read(dashboard_rows.actions, limit)

    async def add_rollups(self, rollups: Sequence[Rollup], *, oldest: datetime) -> None:
        await self._write(lambda connection: dashboard_rows.add_rollups(connection, rollups, oldest=oldest))

    async def rollups(self, *, queue: str, since: datetime) -> Sequence[Rollup]:
        return await self._read(dashboard_rows.rollups, queue, since)

    def listen(self, heard: Callable[[], None]) -> None:
        if self._writer is not None:
            self._writer.watch(heard)

    async def _look_at_the_schema(
        self, act: Callable[[SQLiteConfig, Path], Sequence[Migration]]
    ) -> Sequence[Migration]:
        with explained(self.path):
            return await in_new_thread(act, self.settings, self.path)

    async def _write(
        self,
        act: Callable[[sqlite3.Connection], Answer],
        *,
        probe: Callable[[sqlite3.Connection], Answer | None] | None = None,
    ) -> Answer:
        if self._writer is None:
            raise self._not_open()
        return await self._writer.submit(act, probe=probe)

    async def _read(
        self,
        action: Callable[Concatenate[sqlite3.Connection, Parameters], Answer],
        *args: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Answer:
        try:
            return await self._read_once(lambda connection: action(connection, *args, **options))
        except FileGoneError:
            await self._write(lambda _: None)  # Opens the file again, or raises.
            return await self._read_once(lambda connection: action(connection, *args, **options))

    async def _read_once(self, action: Callable[[sqlite3.Connection], Answer]) -> Answer:
        thread, connections = self._opened_reader()
        with explained(self.path):
            return await asyncio.get_running_loop().run_in_executor(thread, connections.read, action)

    def _opened_reader(self) -> tuple[ThreadPoolExecutor, Connections]:
        if self._reader is None:
            raise self._not_open()
        return self._reader

    def _not_open(self) -> StorageError:
        return StorageError(f"{self!r} is not open. Use it inside: async with QueueService(...)")


def _close(writer: Writer, reader: ThreadPoolExecutor) -> None:
    reader.shutdown()
    writer.close()
