"""The PostgreSQL queue backend: each verb is one statement, and every promise is kept by the statement itself."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

from lq_core.config import QueueConfig
from lq_core.event_log import event_log
from lq_core.queue import (
    BaseQueueBackend,
    Claim,
    Claimed,
    Finding,
    Freed,
    Insertion,
    Proposal,
    QueueState,
    RecordFilter,
    Statistics,
    Swap,
    WorkerInfo,
)
from lq_core.record import OWNED, QueuedTaskRecord, TaskStatus
from lq_core.schedule_state import ScheduleState
from lq_postgres.clock import DatabaseClock
from lq_postgres.config import PostgresConfig
from lq_postgres.connections import WHOLE, Connections
from lq_postgres.counting import Counting
from lq_postgres.diagnosis import Diagnosis
from lq_postgres.insertion import Inserter
from lq_postgres.listener import Listener
from lq_postgres.orphans import find_orphans, know
from lq_postgres.pages import page_of
from lq_postgres.retention import Retention
from lq_postgres.rows import records_from, worker_from
from lq_postgres.schedules import read_schedules, save_schedule
from lq_postgres.schema import Migration, Schema
from lq_postgres.settling import Settler, settle_by
from lq_postgres.statements import claiming, reading, upkeep, versions
from lq_postgres.transactions import statements_on

log = event_log("lq.postgres")


class PostgresQueueBackend(BaseQueueBackend):
    """
    Keeps records in PostgreSQL 13 or newer, for any number of processes and machines.

    *settings* say where the database is; without them, the environment does. What is due, and who is alive, is
    judged by the database's clock, unless a *clock* is given.
    """

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
        self.listener: Listener | None = None
        """What hears the wake-ups of other processes, once somebody here waits for work."""
        self._origin = uuid4().hex[:12]
        self._inserter = Inserter(self.connections.fetch, self._wake_up)
        self._settler = Settler(self.connections, self.clock, self._wake_up)
        self._limited = self._settler.limited
        self._retention = Retention(partial(self.connections.fetch, times=WHOLE))
        self._counting = Counting(self.connections.read_whole)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}{'' if self.listener is None else f' {self.listener!r}'}>"

    @property
    def address(self) -> str:
        return self.connections.address

    async def open(self) -> None:
        """
        Connect, and bring the schema up to date.

        Raises StorageError when there is no way in; SchemaError when the schema is too old and may not be migrated
        here (``auto_migrate=False``), or too new for this code.
        """
        await self.connections.open()
        try:
            if self.settings.auto_migrate:
                _ = await self.migrate()
            else:
                async with self.connections.lent() as connection:
                    await Schema(connection, self.settings.schema).check()
            await self._look_at_the_clock()
        except BaseException:
            await self.connections.close()
            raise
        if not self.settings.poll_only and self.listener is None:
            self.listener = Listener(
                self.connections.to_listen,
                tell=self.connections.fetch,
                channel=self.settings.schema,
                origin=self._origin,
                heard=self.wake,
                probe_interval=self.settings.probe_interval,
            )

    async def close(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            await listener.stop()
        await self.connections.close()

    async def migrate(self) -> Sequence[Migration]:
        """Apply the migrations that are missing, one process at a time, and tell which those were."""
        async with self.connections.opened(), self.connections.lent() as connection:
            applied = await Schema(connection, self.settings.schema).migrate()
        for migration in applied:
            log.info("schema.migrated", extra={"number": migration.number, "migration": migration.name})
        return applied

    async def pending_migrations(self) -> Sequence[Migration]:
        """Tell which migrations are missing; SchemaError when the database is too new for this code."""
        async with self.connections.opened(), self.connections.lent() as connection:
            return await Schema(connection, self.settings.schema).pending()

    async def diagnose(self) -> Sequence[Finding]:
        """Look at the database, and at what can hurt any queue; with a schema that does not fit, at nothing else."""
        findings = await Diagnosis(self.connections, clock=self.clock, listener=self.listener).all()
        return [*findings, *await super().diagnose()] if len(findings) > 1 else findings

    # ------------------------------------------------------------ records

    async def insert(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """Store new records; those with keys may have to wait for somebody's transaction, and let no others wait."""
        if all(record.key is None for record in records):
            return await self._inserts.submit(records)
        return await self._proposals.submit([Proposal(record) for record in records])

    async def insert_many(self, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        if not records:
            return []
        if self.clock.is_old:
            await self._look_at_the_clock()
        if started := [record for record in records if record.status in OWNED]:
            await know(self.connections, (record.worker_id for record in started))
        insertions = await self._inserter.insert(records)
        if started:
            await self._limited.count_in([record.id for record in started])
        for record in records:
            if record.created_at < record.scheduled_at:  # What is not delayed is ready from the start.
                self._settler.expect(record.scheduled_at)
        return insertions

    async def wait_for_work(self, changes: int, *, timeout: float) -> None:
        """Return when there may be work; from the first call on, this process listens, and hears itself too."""
        if self.listener is not None:
            self.listener.start()
        await super().wait_for_work(changes, timeout=timeout)

    async def amend_many(self, swaps: Sequence[Swap]) -> Sequence[bool]:
        if not swaps:
            return []
        kept = await self._inserter.amend(swaps)
        self._settler.expect(min(swap.record.scheduled_at for swap in swaps))
        return kept

    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        return await self._settler.settle_and_claim(swaps, claim)

    async def insert_within(self, connection: object, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """Store new records in a transaction of the application's; its commit wakes the workers."""
        fetch = await statements_on(connection, self.settings.schema)
        return await Inserter(fetch, self._wake_up_everybody).insert(records) if records else []

    async def amend_within(self, connection: object, swaps: Sequence[Swap]) -> Sequence[bool]:
        fetch = await statements_on(connection, self.settings.schema)
        return await Inserter(fetch, self._wake_up_everybody).amend(swaps)

    async def get_within(self, connection: object, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        fetch = await statements_on(connection, self.settings.schema)
        return records_from(await fetch(reading.GET, ids))

    async def swap_within(self, connection: object, swap: Swap) -> bool:
        fetch = await statements_on(connection, self.settings.schema)
        return await settle_by(fetch, self._wake_up_everybody(), [swap]) == [True]

    async def get_many(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        return await self._records(reading.GET, ids) if ids else []

    async def find(
        self, condition: RecordFilter, *, limit: int = 100, before: UUID | None = None, after: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        page = page_of(condition, limit=limit, before=before, after=after)
        # What looks for running records walks past all others.
        times = WHOLE if page.sql is reading.FIND_OLDEST else 1
        return records_from(await self.connections.fetch(page.sql, *page.parameters, times=times))

    async def statistics(self) -> Statistics:
        """Count the records; over a large table the answer may be as old as ten such counts take."""
        return await self._counting.statistics(at=self.clock.at())

    async def count(self, condition: RecordFilter) -> int:
        return await self._counting.count(condition)

    async def overdue(self, *, limit: int) -> Sequence[QueuedTaskRecord]:
        return await self._records(reading.OVERDUE, self.clock.at(), limit)

    async def request_cancel(self, record_id: UUID, epoch: int) -> bool:
        return bool(await self.connections.fetch(upkeep.REQUEST_CANCEL, record_id, epoch))

    async def freed(self, *, limit: int) -> Freed:
        rows = await self.connections.fetch(reading.FREED, limit)
        free = records_from((row for row in rows if row[1] is not None), 1)
        return Freed(records=free, others_wait=rows[0][0])

    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        return await self._records(reading.CANCEL_REQUESTS)

    async def delete_ended(self, *, status: TaskStatus, before: datetime, limit: int) -> int:
        return await self._retention.delete(status=status, before=before, limit=limit, at=self.clock.at())

    async def delete_many(self, ids: Sequence[UUID]) -> int:
        return len(await self.connections.fetch(upkeep.DELETE_MANY, ids, self.clock.at()))

    async def next_due(self, claim: Claim) -> datetime | None:
        [[due, later, limited]] = await self.connections.fetch(
            claiming.NEXT_DUE, claim.execution_backends, claim.queues, self.clock.at()
        )
        openings = await self._limited.openings(claim) if limited else ()
        return min((moment for moment in (due, later, *openings) if moment is not None), default=None)

    # ------------------------------------------------------------ workers and queues

    async def register(self, worker: WorkerInfo) -> None:
        _ = await self.connections.fetch(
            upkeep.REGISTER,
            *(worker.id, worker.started_at, self.clock.at(), worker.concurrency),
            *(worker.queues, worker.execution_backends),
        )

    async def beat(self, worker_id: str) -> bool:
        rows = await self.connections.fetch(upkeep.BEAT, worker_id, self.clock.at())
        for (moment,) in rows:
            self.clock.was(moment)
        return bool(rows)

    async def retire(self, worker_id: str) -> None:
        """Forget a worker; its row goes when no running record names it."""
        _ = await self.connections.fetch(upkeep.RETIRE, worker_id)

    async def workers(self) -> Sequence[WorkerInfo]:
        return [worker_from(row) for row in await self.connections.fetch(upkeep.WORKERS)]

    async def orphans(self, *, timeout: float, limit: int) -> Sequence[QueuedTaskRecord]:
        return await find_orphans(self.connections, at=self.clock.at(), timeout=timeout, limit=limit)

    async def swap_queue(self, queue: str, old: QueueState, new: QueueState) -> bool:
        kept = await self._limited.swap_queue(queue, old, new, *self._wake_up()[1:])
        self.wake()
        return kept

    async def queues(self) -> Mapping[str, QueueState]:
        return await self._limited.queues()

    async def schedules(self) -> Sequence[ScheduleState]:
        return await read_schedules(self.connections)

    async def save_schedule(self, state: ScheduleState, records: Sequence[QueuedTaskRecord] = ()) -> bool:
        saved = await save_schedule(self.connections, self._wake_up, state, records)
        self.wake()
        return saved

    # ------------------------------------------------------------ what they share

    async def _records(self, sql: str, *parameters: object) -> list[QueuedTaskRecord]:
        return records_from(await self.connections.fetch(sql, *parameters))

    async def _look_at_the_clock(self) -> None:
        [[moment]] = await self.connections.fetch(versions.NOW)
        self.clock.was(moment)

    def _wake_up(self) -> tuple[datetime | None, str, str]:
        """The moment, the channel and the sender: what every statement that may bring work is told."""
        return (self.clock.at(), self.settings.schema, self._origin)

    def _wake_up_everybody(self) -> tuple[datetime | None, str, str]:
        """As above, for a commit of which this process is not told otherwise."""
        return (self.clock.at(), self.settings.schema, "")
