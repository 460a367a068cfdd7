"""The object that an application uses: it enqueues calls, and reads and changes their records."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from itertools import islice
from typing import ParamSpec, TypeVar
from uuid import UUID

from msgspec.structs import replace

from lq_core.attempts.attempt import StopReason
from lq_core.foundation.duration import Duration, seconds
from lq_core.foundation.errors import RecordNotFoundError
from lq_core.foundation.event_log import event_log
from lq_core.queue import Action, Rollup
from lq_core.queue.messages import QueueState, RecordFilter, Statistics, WorkerInfo
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import Limits, QueuedTaskRecord, RateLimit, TaskStatus
from lq_core.records.timeline import Event
from lq_core.schedules import schedule_state
from lq_core.schedules.schedule import find_schedule
from lq_core.schedules.schedule_state import ScheduleState
from lq_core.service import bulk, schedules, signals
from lq_core.service.events import follow, follow_all
from lq_core.service.execution_host import ExecutionHost
from lq_core.service.history import keep_action, read_actions, read_rollups
from lq_core.service.new_records import (
    accepted,
    check_id,
    check_predecessors,
    check_task,
    listed,
    proposals,
    results,
)
from lq_core.service.result import TaskResult
from lq_core.service.transaction import EnqueueWithin
from lq_core.tasks.call import TaskCall
from lq_core.tasks.known_tasks import find_task, known_tasks
from lq_core.tasks.middleware import EnqueueMiddleware
from lq_core.tasks.options import OnConflict
from lq_core.tasks.task import Task

Params = ParamSpec("Params")
Result = TypeVar("Result")

log = event_log()

EVERYTHING = RecordFilter()

_NOT_CLAIMING = nullcontext()


class QueueService(ExecutionHost):
    """
    Enqueues calls of tasks, and reads and changes their records.

    Keep it open while you use it: ``async with QueueService(config) as queue``. It belongs to the event loop that
    opened it. You can open it again after you closed it.
    """

    # ------------------------------------------------------------ enqueue

    async def enqueue(
        self, task: Task[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> TaskResult[Result]:
        """
        Store one call of a task for a worker; the result contains the record and the outcome of the enqueue.

        Raises InvalidArgumentError when the arguments do not fit or cannot be encoded, DuplicateKeyError when another
        record holds the key and ``on_conflict`` is ``"reject"``, MissingProviderError when the configuration lists
        providers and none of them provides a parameter of the task, ConfigurationError, PayloadTooLargeError,
        UnknownBackendError, StorageError.
        """
        check_task(task)
        return accepted((await self.enqueue_many([task.call(*args, **kwargs)]))[0])

    async def enqueue_by_name(self, name: str, /, *args: object, **kwargs: object) -> TaskResult[object]:
        """Store one call of a registered task; raises as :meth:`enqueue` does, and UnknownTaskError."""
        return await self.enqueue(find_task(name), *args, **kwargs)

    async def enqueue_many(self, calls: Iterable[TaskCall[Result]]) -> list[TaskResult[Result]]:
        """
        Store many calls, made by ``task.call(...)``, all or none; raises as :meth:`enqueue` does.

        A key that another record holds raises nothing: see the outcome of each result. Replacements, and what comes
        after them, are stored after the other records.
        """
        calls = listed(calls, what="calls")
        now = self.queue_backend.now()
        records = self._records(calls, at=now)
        blocked = [record for record in records if record.blocked]
        if blocked:
            follows = self._queue.follows_held_keys
            await check_predecessors(records, self._queue.get_many, follows_held_keys=follows)
        inline = self._inline.among(records, at=now)
        if inline:
            records = await self._inline.claimed(calls, records, at=now)
        amending = [call for call in calls if call.options.on_conflict is not OnConflict.RETURN_EXISTING]
        with self._open()[0].own.claiming() if inline else _NOT_CLAIMING:
            if amending:
                insertions = await self.queue_backend.propose(proposals(calls, records))
            else:
                insertions = await self.queue_backend.insert(records)
        if blocked:
            self.ends.others_wait = True
            self.ends.ring()
        made = results(calls, insertions, self)
        if inline or amending:
            await self._inline.run(made, at=now)
        return made

    def check(self, calls: Iterable[TaskCall[Result]]) -> None:
        """Check a list of calls as :meth:`enqueue_many` does, without the database; raises the same errors."""
        self._checked(listed(calls, what="calls", read_again=True), at=self.queue_backend.now())

    def within(self, connection: object) -> EnqueueWithin:
        """
        Enqueue in the open transaction of your own database connection: both are committed, or neither is.

        With lq-postgres, it can be a connection of asyncpg, an ``AsyncConnection`` or ``Connection`` of psycopg, or an
        ``AsyncSession`` or ``AsyncConnection`` of SQLAlchemy on either driver:
        ``await service.within(session).enqueue(task, ...)``.
        """
        return EnqueueWithin(connection, queue_backend=self.queue_backend, records=self._records, source=self)

    # ------------------------------------------------------------ look

    async def get(self, record_id: UUID) -> QueuedTaskRecord | None:
        """Read a record; None if it does not exist."""
        return await self._queue.get(check_id(record_id))

    async def wait(self, record_id: UUID, *, timeout: Duration | None = None) -> QueuedTaskRecord:
        """
        Wait until a record has ended, and return it.

        Raises WaitTimeoutError after *timeout* seconds (None: never), RecordNotFoundError if it does not exist.
        """
        return await self._open()[1].wait(check_id(record_id), timeout=seconds(timeout))

    def events(
        self, condition: RecordFilter = EVERYTHING, *, of: Iterable[TaskResult[Result] | UUID] | None = None
    ) -> AsyncGenerator[Event]:
        """
        Follow the events of records, as they are stored: ``async for event in queue.events(of=[result])``.

        With *of*, it yields all events of these records until all have ended; RecordNotFoundError if one is missing.
        Without *of*, it yields new events of all records that match *condition* (except its statuses), endlessly.
        """
        if of is None:
            return follow_all(self._queue, condition)
        return follow(self._queue, [one if isinstance(one, UUID) else one.id for one in listed(of, what="results")])

    async def find(
        self, condition: RecordFilter = EVERYTHING, *, limit: int = 100, before: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        """Read one page of records, newest first; *before* is the id of the last record of the page before."""
        return await self._queue.find(condition, limit=limit, before=before)

    async def count(self, condition: RecordFilter = EVERYTHING) -> int:
        """Count the matching records."""
        return await self._queue.count(condition)

    async def statistics(self) -> Statistics:
        """Count the records by queue and status."""
        return await self._queue.statistics()

    async def rollups(self, *, minutes: int = 60, queue: str | None = None) -> Sequence[Rollup]:
        """
        Read what has ended in each of the last *minutes*, oldest first, in one queue or in all; at most of two days.

        Minutes in which nothing ended are left out, and the numbers are some seconds old. A store that keeps no
        rollups has none, and one write of a process counts only its busiest queues apart from the others.
        """
        return await read_rollups(self._queue, minutes=minutes, queue=queue, flush=self._rollups.flush)

    async def actions(self, *, limit: int = 50) -> Sequence[Action]:
        """Read what people have changed with commands and in the dashboard, newest first; a store may keep nothing."""
        return await read_actions(self._queue, limit=limit)

    async def note_action(self, action: str, subject: str, *, actor: str) -> None:
        """Keep for 30 days what somebody has changed: ``note_action("pause queue", "mail", actor="ada")``."""
        await keep_action(self._queue, action, subject, actor=actor)

    async def workers(self) -> Sequence[WorkerInfo]:
        """Read the registered workers."""
        return await self._queue.workers()

    # ------------------------------------------------------------ change

    async def cancel(self, record_id: UUID) -> bool:
        """
        Cancel a record at once if it waits. If it runs, ask it to stop; its owner then records the end.

        Returns False if it has ended. Raises RecordNotFoundError.
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

    async def signal(
        self, record_id: UUID, name: str, value: object = None, *, timeout: Duration | None = 30.0
    ) -> bool:
        """
        Send a signal with a value to a record, whose task takes it with ``TaskContext.wait_for``; returns when stored.

        A record that waits for the signal starts at once. One that does not wait yet keeps the signal; while it runs,
        this waits until it stops, for at most *timeout* seconds (None: without end).

        Returns False if the record has ended, has a signal of this name, or has stopped waiting for it. Raises
        RecordNotFoundError, SignalNotStoredError, TypeError if the value has no JSON form, PayloadTooLargeError, and
        ConfigurationError for a bad name, or if the record has no room.
        """
        self._open()
        return await signals.send(self, check_id(record_id), name, value, timeout=seconds(timeout))

    async def retry(self, record_id: UUID) -> QueuedTaskRecord:
        """
        Start an ended record again by hand, at once and with its whole retry budget.

        Raises RecordNotFoundError, and IllegalMoveError if it has completed or has not ended.
        """
        while True:
            record = await self._existing(record_id)
            retried = lifecycle.retry(record, at=self._queue.now())
            if await self.swap(record, retried):
                return retried

    async def retry_many(self, condition: RecordFilter) -> int:
        """Retry all matching failed, cancelled and expired records, as :meth:`retry` does; return the number."""
        self._open()
        return await bulk.total(bulk.retry_many(self, condition))

    async def cancel_many(self, condition: RecordFilter) -> int:
        """Cancel all matching records that have not ended, as :meth:`cancel` does; return the number."""
        self._open()
        return await bulk.total(bulk.cancel_many(self, self.cancel, condition))

    async def delete_many(self, condition: RecordFilter) -> int:
        """
        Delete all matching records that have ended and hold no key, with their results; return the number.

        A record that still waits for a deleted one counts it as not completed.
        """
        self._open()
        return await bulk.total(bulk.delete_many(self._queue, condition))

    async def pause(self, queue: str) -> bool:
        """Stop all claims from a queue until :meth:`resume`; False if no record and no known task names this queue."""
        await self._queue.change_queue(queue, paused=True)
        named = {task.options.queue for task in known_tasks().values()}
        return queue in named or queue in (await self._queue.statistics()).counts

    async def resume(self, queue: str) -> None:
        """Allow claims from a paused or drained queue again."""
        await self._queue.change_queue(queue, paused=False, draining=None)

    async def limit_queue(self, queue: str, *, concurrency: int | None = None, rate: RateLimit | None = None) -> None:
        """
        Limit how many records of a queue run at once, and how many start in a time span, over all workers.

        None removes a limit. Running records count and continue. Raises ConfigurationError.
        """
        limits = Limits(concurrency=concurrency, rate=rate)
        limits.check()
        await self._queue.change_queue(queue, limits=None if limits == Limits() else limits)

    async def drain(self, queue: str, *, timeout: Duration | None = None) -> int:
        """
        Run the records that are in a queue now, including their retries, and return how many have not ended.

        0 means that all have ended; then the queue is paused. After *timeout* seconds (None: never) it returns the
        number of the others, and the queue continues to drain. Both states last until :meth:`resume`.
        """
        return await bulk.drain(self._queue, queue, timeout=seconds(timeout), poll_interval=self.config.poll_interval)

    async def queues(self) -> Mapping[str, QueueState]:
        """Read the states of the queues that have been paused, drained or limited."""
        return await self._queue.queues()

    # ------------------------------------------------------------ schedules

    async def schedules(self) -> Sequence[ScheduleState]:
        """Read the states of all schedules that workers have declared, sorted by name."""
        return sorted(await self._queue.schedules(), key=lambda state: state.name)

    async def next_times(self, name: str, count: int = 5) -> Sequence[datetime]:
        """Return the next due times of a schedule, in UTC, even if it is paused. Raises UnknownScheduleError."""
        state = await schedules.existing(self._queue, name)
        return list(islice(state.plan.after(self._queue.now()), count))

    async def pause_schedule(self, name: str) -> None:
        """Stop a schedule until you resume it. Raises UnknownScheduleError."""
        await schedules.change_existing(self._queue, name, schedule_state.pause)

    async def resume_schedule(self, name: str) -> None:
        """Let a schedule fire again. Due times in the pause are skipped. Raises UnknownScheduleError."""
        resume = partial(schedule_state.resume, at=self._queue.now())
        await schedules.change_existing(self._queue, name, resume)

    async def run_schedule(self, name: str) -> QueuedTaskRecord:
        """
        Enqueue the call of a schedule now, in addition to its plan, even if it is paused.

        Returns the stored record, or the holder of its key. Raises UnknownScheduleError if this process does not
        declare the schedule.
        """
        record = self.record_of(find_schedule(name).call, at=self._queue.now())
        (insertion,) = await self._queue.insert([replace(record, id=new_id(), schedule=name)])
        return insertion.record

    def __repr__(self) -> str:
        state = "open" if self._started else "closed"
        return f"<QueueService {state} {self.queue_backend.address}>"

    async def _existing(self, record_id: UUID) -> QueuedTaskRecord:
        record = await self._queue.get(check_id(record_id))
        if record is None:
            raise RecordNotFoundError(record_id)
        return record

    def _records(self, calls: Sequence[TaskCall[Result]], *, at: datetime) -> Sequence[QueuedTaskRecord]:
        records = self._checked(calls, at=at)
        for layer in self.config.middleware:
            if isinstance(layer, EnqueueMiddleware):
                records = [layer.enqueuing(record) for record in records]
        return records

    def _checked(self, calls: Sequence[TaskCall[Result]], *, at: datetime) -> Sequence[QueuedTaskRecord]:
        records = self._maker.many(calls, at=at)
        self._injector.check_calls(calls)
        self._open()
        return records

    async def _stop(self, record: QueuedTaskRecord) -> None:
        is_here = self._open()[0].stop_one((record.id, record.epoch), StopReason.CANCELLED)
        if not is_here and self.is_external(record.execution_backend):
            await self._executions.cancel(record, self)
