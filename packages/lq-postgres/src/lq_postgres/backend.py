"""The PostgreSQL queue backend."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import ClassVar, Final
from uuid import UUID

from lq_core.config.queue_config import QueueConfig
from lq_core.queue import (
    Action,
    Actions,
    BaseQueueBackend,
    Claim,
    Claimed,
    Finding,
    Findings,
    Insertion,
    Migrations,
    Notifications,
    QueueState,
    RecordFilter,
    Rollup,
    Rollups,
    Statistics,
    Successors,
    Swap,
    ThreadHeartbeats,
    Transactions,
    Unblocked,
    Versions,
    WorkerInfo,
)
from lq_core.queue.predecessors import follow_keys
from lq_core.records.record import OWNED, QueuedTaskRecord, TaskStatus
from lq_core.schedules.schedule_state import ScheduleState
from lq_postgres.claims.dead_workers import DeadWorkers, know
from lq_postgres.claims.settle_and_claim import Settler, settle_by
from lq_postgres.connection.clock import DatabaseClock
from lq_postgres.connection.config import PostgresConfig
from lq_postgres.connection.connections import Connections
from lq_postgres.connection.crowd import ALL, Crowd
from lq_postgres.connection.faults import NotifyQueueFullError
from lq_postgres.connection.listener import Listener
from lq_postgres.connection.session import WHOLE
from lq_postgres.connection.transactions import statements_on
from lq_postgres.statements import reading, upkeep, versions
from lq_postgres.storage.finding import Counting, conditions, statement_for, with_rare
from lq_postgres.storage.insertion import WakeUp, amend, insert
from lq_postgres.storage.rows import records_from, worker_from
from lq_postgres.storage.schedules import change_schedule, read_schedule, read_schedules
from lq_postgres.upkeep import dashboard
from lq_postgres.upkeep.diagnosis import Diagnosis
from lq_postgres.upkeep.migrator import Migrator
from lq_postgres.upkeep.retention import Retention
from lq_postgres.upkeep.schema import Migration, Schema

_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)


class PostgresQueueBackend(
    BaseQueueBackend,
    Transactions,
    Notifications,
    Successors,
    Rollups,
    Actions,
    Versions,
    ThreadHeartbeats,
    Migrations,
    Findings,
):
    """
    Stores records in PostgreSQL 13 or newer, for any number of processes and machines.

    Without *settings*, the environment configures the connection.
    The clock of the database decides which records are due and which workers are alive, unless you pass *clock*.
    """

    follows_held_keys: ClassVar[bool] = True
    takes_turns: ClassVar[bool] = True

    def __init__(
        self,
        config: QueueConfig | None = None,
        *,
        settings: PostgresConfig | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.clock = DatabaseClock(clock)
        super().__init__(config, clock=self.clock.now)
        self.settings = settings or PostgresConfig()
        self.connections = Connections(self.settings)
        self._own = self.connections.own
        self.listener: Listener | None = None
        """Hears the wake-ups of other processes, as soon as something in this process waits for work."""
        self._crowd = Crowd(slots=self.config.concurrency)
        self._settler = Settler(self._own, self.clock, self._crowd, self._wake_up, self.wake)
        self._limited = self._settler.limited
        self._retention = Retention(partial(self._own.fetch, times=WHOLE))
        self._dead_workers = DeadWorkers(self._own)
        self._blocked_after = _FIRST  # Where the next look at the blocked records begins.
        self._counting = Counting(self.connections.read_whole)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}{'' if self.listener is None else f' {self.listener!r}'}>"

    @property
    def address(self) -> str:
        return self.connections.address

    async def open(self) -> None:
        """
        Connect, and migrate the schema unless ``auto_migrate=False``.

        Raises StorageError if the connection fails, and SchemaError if the schema is too old or too new.
        """
        await self.connections.open()
        try:
            if self.settings.auto_migrate and self.may_migrate:
                _ = await self.apply_migrations()
            else:
                async with self.connections.transaction() as fetch:
                    await Schema(fetch, self.settings.schema).check()
            await self._read_clock()
        except BaseException:
            await self.connections.close()
            raise
        if self.settings.notify and not self.settings.poll_only and self.listener is None:
            self.listener = Listener(self._own, self._crowd)

    async def close(self) -> None:
        listener, self.listener = self.listener, None
        try:
            if listener is not None:
                await listener.stop()
            await self._settler.close()
        finally:
            await self.connections.close()

    async def apply_migrations(self) -> Sequence[Migration]:
        """Apply and return the missing migrations, one process at a time."""
        async with self.connections.opened():
            return await Migrator(self.connections).migrate()

    async def missing_migrations(self) -> Sequence[Migration]:
        """Return the missing migrations; raise SchemaError if the database is too new for this code."""
        async with self.connections.opened():
            return await Migrator(self.connections).missing()

    async def findings(self) -> Sequence[Finding]:
        """Check the database; if the schema is out of date, check nothing else."""
        return await Diagnosis(self.connections, clock=self.clock, listener=self.listener).all()

    def listen(self, heard: Callable[[], None]) -> None:
        """Start to listen with the first call."""
        self._crowd.idles()
        if self.listener is not None:
            self.listener.start(heard)

    # ------------------------------------------------------------ records

    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        if not records:
            return []
        if self.clock.is_old:
            await self._read_clock()
        if started := [record for record in records if record.status in OWNED]:
            await know(self._own, (record.worker_id for record in started))
        if follow_keys(records):
            try:
                insertions = await self._insert_together(records)
            except NotifyQueueFullError:  # The next statements do not notify.
                insertions = await self._insert_together(records)
        else:
            now, fetch = self.clock.now(), self.connections.fetch
            insertions = await insert(fetch, records, self._wake_up(len(records)), now=now)
        if started:
            await self._limited.count_in([record.id for record in started])
        for record in records:
            if record.created_at < record.scheduled_at:  # Other records are ready at once.
                self._settler.expect(record.scheduled_at)
        return insertions

    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        if not swaps:
            return []
        kept = await amend(self.connections.fetch, swaps, self._wake_up(len(swaps)))
        self._settler.expect(min(swap.record.scheduled_at for swap in swaps))
        return kept

    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        return await self._settler.settle_and_claim(swaps, claim)

    async def insert_within(self, connection: object, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        fetch = await statements_on(connection, self.settings.schema)
        return await insert(fetch, records, self._wake_up_all(len(records)), now=self.clock.now()) if records else []

    async def amend_within(self, connection: object, swaps: Sequence[Swap]) -> Sequence[bool]:
        return await amend(await statements_on(connection, self.settings.schema), swaps, self._wake_up_all(len(swaps)))

    async def get_within(self, connection: object, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        fetch = await statements_on(connection, self.settings.schema)
        return records_from(await fetch(reading.GET, ids))

    async def swap_within(self, connection: object, swap: Swap) -> bool:
        fetch = await statements_on(connection, self.settings.schema)
        return await settle_by(fetch, self._wake_up_all(1), [swap]) == [True]

    async def get_many(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        return records_from(await self.connections.fetch(reading.GET, ids)) if ids else []

    async def find(
        self, condition: RecordFilter, *, limit: int = 100, before: UUID | None = None, after: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        sql, bound = statement_for(condition), before or _LAST
        times = 1 if after is None else WHOLE  # Without an index, this may walk past all records of other statuses.
        if after is not None:
            sql, bound = reading.oldest_first(sql), after
        parameters = (*conditions(condition), bound, limit)
        sql, rare = with_rare(sql, condition, len(parameters) + 1)
        return records_from(await self.connections.fetch(sql, *parameters, *rare, times=times))

    async def statistics(self) -> Statistics:
        """Count the records; if a count is slow, its result is kept for ten times as long as it took."""
        return await self._counting.statistics(at=self.clock.at())

    async def count(self, condition: RecordFilter) -> int:
        parameters = conditions(condition)
        sql, rare = with_rare(reading.COUNT, condition, len(parameters) + 1)
        [[number]] = await self.connections.read_whole(sql, *parameters, *rare)
        return number

    async def overdue(self, *, limit: int) -> Sequence[QueuedTaskRecord]:
        return records_from(await self._own.fetch(reading.OVERDUE, self.clock.at(), limit))

    async def request_cancel(self, record_id: UUID, epoch: int) -> bool:
        return bool(await self.connections.fetch(upkeep.REQUEST_CANCEL, record_id, epoch))

    async def unblocked(self, *, limit: int) -> Unblocked:
        rows = await self._own.fetch(reading.UNBLOCKED, limit, self._blocked_after)
        free = records_from((row for row in rows if row[2] is not None), 2)
        self._blocked_after = (rows[0][1] or _FIRST) if len(free) < limit else self._blocked_after
        return Unblocked(records=free, others_wait=rows[0][0])

    async def unblocked_by(self, ids: Sequence[UUID], *, limit: int) -> Sequence[QueuedTaskRecord]:
        return records_from(await self._own.fetch(reading.UNBLOCKED_BY, [str(one) for one in ids], limit))

    async def successors(self, record_id: UUID, *, limit: int) -> Sequence[QueuedTaskRecord]:
        return records_from(await self.connections.fetch(reading.SUCCESSORS, [str(record_id)], limit))

    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        return records_from(await self._own.fetch(reading.CANCEL_REQUESTS))

    async def delete_ended(self, *, status: TaskStatus, before: datetime, limit: int) -> int:
        return await self._retention.delete(status=status, before=before, limit=limit, at=self.clock.at())

    async def delete_many(self, ids: Sequence[UUID]) -> int:
        return len(await self.connections.fetch(upkeep.DELETE_MANY, ids, self.clock.at()))

    async def next_due(self, claim: Claim) -> datetime | None:
        return await self._settler.next_due(claim)

    # ------------------------------------------------------------ workers and queues

    async def register(self, worker: WorkerInfo) -> None:
        self._crowd.takes(worker.queues, worker.execution_backends)
        _ = await self._own.fetch(
            upkeep.REGISTER,
            *(worker.id, worker.started_at, self.clock.at(), worker.concurrency),
            *(worker.queues, worker.execution_backends),
        )

    async def beat(self, worker_id: str) -> bool:
        rows = await self._own.fetch(upkeep.BEAT, worker_id, self.clock.at())
        for moment, place, size in rows:
            self.clock.was(moment)
            self._crowd.place, self._crowd.size = place, size
        return bool(rows)

    def beat_from_thread(self, worker_id: str) -> bool:
        return bool(asyncio.run(self._own.fetch_apart(upkeep.BEAT, worker_id, self.clock.at())))

    async def retire(self, worker_id: str) -> None:
        _ = await self._own.fetch(upkeep.RETIRE, worker_id)

    async def workers(self) -> Sequence[WorkerInfo]:
        return [worker_from(row) for row in await self._own.fetch(upkeep.WORKERS)]

    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        return await self._dead_workers.orphans(at=self.clock.at(), timeout=timeout, limit=limit)

    async def owned(self, worker_id: str) -> Sequence[QueuedTaskRecord]:
        return records_from(await self._own.read_whole(upkeep.OWNED, worker_id))

    async def swap_queue(self, queue: str, old: QueueState, new: QueueState) -> bool:
        return await self._limited.swap_queue(queue, old, new, *self._wake_up(ALL)[1:])

    async def queues(self) -> Mapping[str, QueueState]:
        return await self._limited.queues()

    async def schedules(self) -> Sequence[ScheduleState]:
        return await read_schedules(self._own.fetch)

    async def schedule(self, name: str) -> ScheduleState | None:
        return await read_schedule(self._own.fetch, name)

    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        async with self._own.transaction() as fetch:
            missing = await change_schedule(fetch, state, records)
            if missing:
                _ = await insert(fetch, missing, self._wake_up(len(missing)), now=self.clock.now())
        if missing is not None:
            self.wake()
        return missing is not None

    async def add_action(self, action: Action, *, oldest: datetime) -> None:
        await dashboard.add_action(self.connections.fetch, action, oldest=oldest)

    async def actions(self, *, limit: int) -> Sequence[Action]:
        return await dashboard.read_actions(self.connections.fetch, limit=limit)

    async def add_rollups(self, rollups: Sequence[Rollup], *, oldest: datetime) -> None:
        await dashboard.add_rollups(self.connections.fetch, rollups, oldest=oldest)

    async def rollups(self, *, queue: str, since: datetime) -> Sequence[Rollup]:
        return await dashboard.read_rollups(self.connections.fetch, queue=queue, since=since)

    async def version(self) -> str:
        return await dashboard.read_version(self.connections.fetch)

    # ------------------------------------------------------------ what they share

    async def _insert_together(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        async with self.connections.transaction() as fetch:
            return await insert(fetch, records, self._wake_up(len(records)), now=self.clock.now())

    async def _read_clock(self) -> None:
        [[moment]] = await self.connections.fetch(versions.NOW)
        self.clock.was(moment)

    def _wake_up(self, records: int) -> WakeUp:
        return (self.clock.at(), self.connections.notifier.channel, self._crowd.wake_up(records))

    def _wake_up_all(self, records: int) -> WakeUp:  # This process hears it too, because it does not see the commit.
        return (self.clock.at(), self.connections.notifier.channel, self._crowd.wake_up(records, origin=""))
