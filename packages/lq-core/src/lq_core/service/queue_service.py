"""The service that an application holds: it enqueues calls, and tells and changes what becomes of them."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import ParamSpec, Self, TypeVar
from uuid import UUID

from lq_core import lifecycle
from lq_core.attempt import StopReason
from lq_core.completion import Completions
from lq_core.config import QueueConfig, checked
from lq_core.errors import ConfigurationError, RecordNotFoundError
from lq_core.event_log import event_log
from lq_core.event_loop import current_loop
from lq_core.execution import BaseExecutionBackend
from lq_core.injector import Injector
from lq_core.options import RETURN_EXISTING
from lq_core.queue import BaseQueueBackend, get_queue_backend
from lq_core.queue.messages import Insertion, QueueState, RecordFilter, Statistics, WorkerInfo
from lq_core.record import Limits, QueuedTaskRecord, RateLimit, TaskStatus
from lq_core.result import TaskResult
from lq_core.schedule_state import ScheduleState
from lq_core.service import bulk
from lq_core.service.calls import accepted, check_id, check_predecessors, check_task, new_records, proposals, results
from lq_core.service.draining import drain
from lq_core.service.events import follow, follow_all
from lq_core.service.executions import Executions
from lq_core.service.inline import InlineRuns
from lq_core.service.runner import Runner
from lq_core.service.schedules import Schedules
from lq_core.service.task_modules import import_tasks
from lq_core.service.transaction import EnqueueWithin
from lq_core.task import Task, TaskCall, find_task, known_tasks
from lq_core.timeline import Event

Params = ParamSpec("Params")
Result = TypeVar("Result")

log = event_log()

EVERYTHING = RecordFilter()


class QueueService:
    """
    Enqueues calls of tasks, and tells and changes what becomes of them.

    Open it for as long as it is used: ``async with QueueService(config) as queue``. It belongs to the event loop
    that opened it, and may be opened again after it was closed.
    """

    def __init__(self, config: QueueConfig | None = None, *, queue_backend: BaseQueueBackend | None = None) -> None:
        self.config = checked(config)
        self.queue_backend = queue_backend or get_queue_backend(self.config.queue_backend, self.config)
        self.executions = Executions(self.config)
        self._inline = InlineRuns(self, self.executions, lambda: self.runner)
        self.injector = Injector(self.config.providers, given={QueueService: self, type(self): self})
        self._schedules = Schedules(self.queue_backend, self.config, self.executions)
        self._started: tuple[Runner, Completions] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entered = 0

    async def open(self) -> Self:
        """
        Import the task modules and open the queue backend.

        Raises ConfigurationError when a task module cannot be imported, StorageError when the database cannot be used.
        """
        if self._started is not None:
            self._open()
            return self
        self.executions.check()
        import_tasks(self.config.task_modules)
        await self.queue_backend.open()
        completions = Completions(self.queue_backend.get_many, poll_interval=self.config.poll_interval)
        runner = Runner(self.queue_backend, completions, middleware=self.config.middleware, injector=self.injector)
        self.injector.open()
        self._started = runner, completions
        self._loop = asyncio.get_running_loop()
        log.info("service.opened", extra={"queue_backend": self.queue_backend.address})
        return self

    async def close(self) -> None:
        """Give back what runs inline, close the values per worker and the backends; closing twice does no harm."""
        if self._started is not None:
            runner, completions = self._started
            async with AsyncExitStack() as closing:
                # Each is closed, also when one before it fails to.
                for each in (self.queue_backend, self.executions, completions, self.injector, runner):
                    closing.push_async_callback(each.close)
            self._started = None

    async def __aenter__(self) -> Self:
        await self.open()
        self._entered += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if not self._entered:  # The last one to leave closes it.
            await self.close()

    # ------------------------------------------------------------ enqueue

    async def enqueue(
        self, task: Task[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> TaskResult[Result]:
        """
        Store one call of a task, to be run by a worker; the result says what has been done.

        Raises InvalidArgumentError when the arguments do not fit or cannot be encoded, DuplicateKeyError when the key
        is held and the call is to be rejected then, ConfigurationError, PayloadTooLargeError, UnknownBackendError,
        StorageError; MissingProviderError when the configuration lists providers, and the task asks for what none of
        them provides.
        """
        check_task(task)
        return accepted((await self.enqueue_many([task.call(*args, **kwargs)]))[0])

    async def enqueue_by_name(self, name: str, /, *args: object, **kwargs: object) -> TaskResult[object]:
        """Store one call of a registered task; raises as :meth:`enqueue` does, and UnknownTaskError."""
        return await self.enqueue(find_task(name), *args, **kwargs)

    async def enqueue_many(self, calls: Iterable[TaskCall[Result]]) -> list[TaskResult[Result]]:
        """
        Store many calls, made by ``task.call(...)``, all or none; raises as :meth:`enqueue` does.

        Only a held key raises nothing: the result says what has been done. What is replaced, is so after the rest has
        been stored.
        """
        calls = list(calls)
        now = self.queue_backend.now()
        records = self._records(calls, at=now)
        self._open()
        blocked = [record for record in records if record.blocked]
        if blocked:
            await check_predecessors(records, self._queue.get_many)
        inline = [record for record in records if self._inline.takes(record, at=now)]
        if inline:
            records = await self._inline.claimed(calls, records, at=now)
        amending = [call for call in calls if call.options.on_conflict is not RETURN_EXISTING]
        insertions = await self._insert(calls if amending else (), records)
        if blocked:
            self.runner.others_wait = True
            self.runner.nudge()
        made = results(calls, insertions, self)
        if inline or amending:
            await self._inline.run(made, at=now)
        return made

    def check(self, calls: Iterable[TaskCall[Result]]) -> None:
        """Raise what :meth:`enqueue_many` would raise for these calls without asking the database."""
        self._records(list(calls), at=self.queue_backend.now())

    def within(self, connection: object) -> EnqueueWithin:
        """
        Enqueue in the open transaction of a database connection of yours: committed together, or not at all.

        With lq-postgres, it may be a connection of asyncpg, an ``AsyncConnection`` of psycopg, or an ``AsyncSession``
        or ``AsyncConnection`` of SQLAlchemy on either: ``await service.within(session).enqueue(task, ...)``.
        """
        return EnqueueWithin(connection, queue_backend=self.queue_backend, records=self._records, source=self)

    # ------------------------------------------------------------ look

    async def get(self, record_id: UUID) -> QueuedTaskRecord | None:
        """Read a record; None if there is none."""
        return await self._queue.get(check_id(record_id))

    async def wait(self, record_id: UUID, *, timeout: float | None = None) -> QueuedTaskRecord:
        """
        Wait until a record has ended, and return it.

        Raises WaitTimeoutError after *timeout* seconds (None: never), RecordNotFoundError when there is none.
        """
        return await self._open()[1].wait(check_id(record_id), timeout=timeout)

    def events(
        self, condition: RecordFilter = EVERYTHING, *, of: Iterable[TaskResult[Result] | UUID] | None = None
    ) -> AsyncGenerator[Event]:
        """
        Tell what happens to records, as it is stored: ``async for event in queue.events(of=[result])``.

        With *of*, from the beginning of these records until all have ended; RecordNotFoundError when one is not there.
        Without, from now on and without end, for all records that match *condition* (its statuses do not count).
        """
        if of is None:
            return follow_all(self._queue, condition)
        return follow(self._queue, [one if isinstance(one, UUID) else one.id for one in of])

    async def find(
        self, condition: RecordFilter = EVERYTHING, *, limit: int = 100, before: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        """Read one page of records, newest first; *before* is the id of the last record of the page before."""
        return await self._queue.find(condition, limit=limit, before=before)

    async def count(self, condition: RecordFilter = EVERYTHING) -> int:
        """Count the records that match."""
        return await self._queue.count(condition)

    async def statistics(self) -> Statistics:
        """Count the records by queue and status."""
        return await self._queue.statistics()

    async def workers(self) -> Sequence[WorkerInfo]:
        """Read the workers that are registered."""
        return await self._queue.workers()

    # ------------------------------------------------------------ change

    async def cancel(self, record_id: UUID) -> bool:
        """
        Cancel a record: at once when it waits; a running one is asked to stop, and its owner records the end.

        False when it has ended already. Raises RecordNotFoundError.
        """
        while True:
            record = await self._existing(record_id)
            if record.has_ended:
                return False
            if record.status is TaskStatus.RUNNING:
                if await self._queue.request_cancel(record.id, record.epoch):
                    await self._stop(record)
                    return True
            elif await self.swap(record, lifecycle.cancel(record, at=self._queue.now())):
                if record.status is TaskStatus.DISPATCHED:
                    await self._stop(record)
                return True

    async def retry(self, record_id: UUID) -> QueuedTaskRecord:
        """
        Bring an ended record back by hand, due at once, with its whole retry budget.

        Raises RecordNotFoundError, and IllegalMoveError when it has completed or has not ended.
        """
        while True:
            record = await self._existing(record_id)
            revived = lifecycle.retry(record, at=self._queue.now())
            if await self.swap(record, revived):
                return revived

    async def retry_many(self, condition: RecordFilter) -> int:
        """
        Bring back all failed, cancelled and expired records that match, as :meth:`retry` does; say how many came.

        Page by page, oldest first; a record that moves on meanwhile is left alone.
        """
        return await bulk.retry_many(self, condition)

    async def cancel_many(self, condition: RecordFilter) -> int:
        """Cancel all records that match and have not ended, as :meth:`cancel` does; say how many that were."""
        return await bulk.cancel_many(self, condition)

    async def pause(self, queue: str) -> bool:
        """Let no worker claim from a queue until it is resumed; False when no record or known task has named it yet."""
        await self._queue.change_queue(queue, paused=True)
        named = {task.options.queue for task in known_tasks().values()}
        return queue in named or queue in (await self._queue.statistics()).counts

    async def resume(self, queue: str) -> None:
        """Let workers claim from a queue again, also from one that was drained."""
        await self._queue.change_queue(queue, paused=False, draining=None)

    async def limit_queue(self, queue: str, *, concurrency: int | None = None, rate: RateLimit | None = None) -> None:
        """
        Let so many records of a queue run at once, and so many start in a span of time, over all workers.

        What is None has no limit from now on. What runs already counts and goes on. Raises ConfigurationError.
        """
        limits = Limits(concurrency=concurrency, rate=rate)
        await self._queue.change_queue(queue, limits=None if limits == Limits() else limits)

    async def drain(self, queue: str, *, timeout: float | None = None) -> int:
        """
        Have workers run what is in a queue, its retries too, and nothing that comes later; tell how much is left.

        0 means that all of it has ended; the queue is paused then. After *timeout* seconds (None: never) it answers
        with the number of records that have not, and the queue goes on draining. Either lasts until :meth:`resume`.
        """
        return await drain(self._queue, queue, timeout=timeout, poll_interval=self.config.poll_interval)

    async def queues(self) -> Mapping[str, QueueState]:
        """Read the state of the queues that somebody has set one for."""
        return await self._queue.queues()

    # ------------------------------------------------------------ schedules

    async def schedules(self) -> Sequence[ScheduleState]:
        """Read what is remembered of every schedule that a worker has declared, in the order of their names."""
        return await self._schedules.read()

    async def next_times(self, name: str, count: int = 5) -> Sequence[datetime]:
        """Tell the next due times of a schedule, in UTC, also of a paused one. Raises UnknownScheduleError."""
        return await self._schedules.next_times(name, count)

    async def pause_schedule(self, name: str) -> None:
        """Let a schedule fire no more until it is resumed. Raises UnknownScheduleError."""
        await self._schedules.pause(name)

    async def resume_schedule(self, name: str) -> None:
        """Let a schedule fire again; what fell into the pause is not made up for. Raises UnknownScheduleError."""
        await self._schedules.resume(name)

    async def run_schedule(self, name: str) -> QueuedTaskRecord:
        """
        Enqueue the call of a schedule now, beside its plan, also while it is paused.

        Returns the record that is stored, or the holder of its key. Raises UnknownScheduleError when the schedule is
        not declared in this process.
        """
        return await self._schedules.run(name)

    # ------------------------------------------------------------ run

    @property
    def runner(self) -> Runner:
        """What runs records in this process. Raises ConfigurationError when the service is not open."""
        return self._open()[0]

    def execute_record(
        self, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> Coroutine[None, None, QueuedTaskRecord]:
        """
        Run a record in this process and record the outcome; a record that nobody has claimed is claimed first.

        Raises OwnershipLostError when it cannot be claimed.
        """
        return self.runner.run(record, worker_id=worker_id)

    async def swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> bool:
        """Keep *new*, a step of :mod:`lq_core.lifecycle` from *old*; False when *old* is not current any more."""
        return await self.runner.swap(old, new)

    async def execution_backend(self, name: str) -> BaseExecutionBackend:
        """Return the open execution backend of this name. Raises UnknownBackendError."""
        return await self.executions.opened(name, self)

    def __repr__(self) -> str:
        state = "open" if self._started else "closed"
        return f"<QueueService {state} {self.queue_backend.address}>"

    def _open(self) -> tuple[Runner, Completions]:
        if self._started is None:
            raise ConfigurationError("The QueueService is not open: use `async with QueueService(config) as queue`.")
        if self._loop is not current_loop():
            raise ConfigurationError(
                "The QueueService was opened in another event loop, or there is none here: open one of your own with "
                "`async with QueueService(config) as queue`, or hand the call to that loop with "
                "asyncio.run_coroutine_threadsafe(...)."
            )
        return self._started

    @property
    def _queue(self) -> BaseQueueBackend:
        self._open()
        return self.queue_backend

    async def _existing(self, record_id: UUID) -> QueuedTaskRecord:
        record = await self._queue.get(check_id(record_id))
        if record is None:
            raise RecordNotFoundError(record_id)
        return record

    def _records(self, calls: Sequence[TaskCall[Result]], *, at: datetime) -> Sequence[QueuedTaskRecord]:
        records = new_records(calls, self.config, self.executions, at=at)
        self.injector.check_calls(calls)
        return records

    async def _insert(
        self, calls: Sequence[TaskCall[Result]], records: Sequence[QueuedTaskRecord]
    ) -> Sequence[Insertion]:
        """Store records; what their *calls* want done where a key is held is asked for only where there are some."""
        try:
            if calls:
                return await self.queue_backend.propose(proposals(calls, records))
            return await self.queue_backend.insert(records)
        except BaseException:
            self.runner.doubt(records)
            raise

    async def _stop(self, record: QueuedTaskRecord) -> None:
        attempt = self.runner.attempts.get((record.id, record.epoch))
        if attempt is not None:
            attempt.stop(StopReason.CANCELLED)
        elif self.executions.is_external(record.execution_backend):
            await self.executions.cancel(record, self)
