"""The queue for plain code: scripts, Flask, Django, notebooks. An event loop in a thread of its own does the work."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Generic, ParamSpec, Self, TypeVar, cast
from uuid import UUID

from lq_core.config.queue_config import QueueConfig, checked
from lq_core.foundation.duration import Duration
from lq_core.queue import Action, Rollup
from lq_core.queue.messages import QueueState, RecordFilter, Statistics, WorkerInfo
from lq_core.records.record import QueuedTaskRecord, RateLimit, TaskStatus
from lq_core.records.timeline import Event
from lq_core.schedules.schedule_state import ScheduleState
from lq_core.service.demand import TARGET_WAIT, Demand
from lq_core.service.execution_host import FACES, ExecutionHost
from lq_core.service.loop_thread import OwnThread, RunningService
from lq_core.service.queue_service import EVERYTHING, QueueService
from lq_core.service.result import EnqueueOutcome, TaskResult
from lq_core.tasks.call import TaskCall
from lq_core.tasks.task import Task

Params = ParamSpec("Params")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
Answer = TypeVar("Answer")


class SyncTaskResult(Generic[Result_co]):
    """One enqueued call, as :class:`lq_core.TaskResult`, with plain methods."""

    def __init__(self, result: TaskResult[Result_co], service: "SyncQueueService") -> None:
        self._result = result
        self._service = service

    @property
    def id(self) -> UUID:
        """The id of the record."""
        return self._result.id

    @property
    def record(self) -> QueuedTaskRecord:
        """The record as last read."""
        return self._result.record

    @property
    def outcome(self) -> EnqueueOutcome:
        """The effect of the enqueue."""
        return self._result.outcome

    @property
    def created(self) -> bool:
        """False if another record holds the key; then this is that record."""
        return self._result.created

    @property
    def status(self) -> TaskStatus:
        """The status of the record when it was last read."""
        return self._result.status

    def refresh(self) -> QueuedTaskRecord:
        """Read the record again. If it has been deleted, keep the last one."""
        return self._service.call(lambda _: self._result.refresh())

    def wait(self, timeout: Duration | None = None) -> Result_co:
        """Wait until the record has ended and return the result; raises as :meth:`lq_core.TaskResult.wait` does."""
        return self._service.call(lambda _: self._result.wait(timeout))

    def __repr__(self) -> str:
        return f"<Sync{repr(self._result)[1:]}"


class SyncEnqueueWithin:
    """Enqueues calls in a transaction of the application, as :class:`lq_core.EnqueueWithin`, with plain methods."""

    def __init__(self, connection: object, service: "SyncQueueService") -> None:
        self._connection = connection
        self._service = service

    def enqueue(
        self, task: Task[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> SyncTaskResult[Result]:
        """Store one call of a task; raises as ``EnqueueWithin.enqueue`` does."""
        made = self._service.call(lambda service: service.within(self._connection).enqueue(task, *args, **kwargs))
        return SyncTaskResult(made, self._service)

    def enqueue_many(self, calls: Iterable[TaskCall[Result]]) -> list[SyncTaskResult[Result]]:
        """Store many calls, made by ``task.call(...)``, all or none; raises as ``EnqueueWithin.enqueue_many`` does."""
        calls = list(calls)
        made = self._service.call(lambda service: service.within(self._connection).enqueue_many(calls))
        return [SyncTaskResult(each, self._service) for each in made]


class SyncQueueService:
    """
    :class:`lq_core.QueueService` for plain code: the same names and errors, without ``await``.

    It opens at its first call, or with ``with SyncQueueService(config) as queue``. A program that ends without closing
    it loses nothing, because a call returns only when it is stored. Many threads may share one. A forked child opens
    its own service at its first call. It enqueues and reads; to run records, start ``lq worker``.
    """

    def __init__(self, config: QueueConfig | None = None) -> None:
        self.config = checked(config)
        self._thread = OwnThread(self.config)

    def open(self) -> Self:
        """Open the queue backend; raises as ``QueueService.open`` does. Opening twice is harmless."""
        self._opened()
        return self

    def close(self) -> None:
        """Close the queue backend and end the thread; twice is harmless. The next call opens it again."""
        self._thread.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, action: Callable[[QueueService], Coroutine[object, object, Answer]]) -> Answer:
        """Run an *action* on the service in its event loop: ``queue.call(lambda service: service.count())``."""
        running = self._opened()
        return running.call(action(running.service))

    # ------------------------------------------------------------ enqueue

    def enqueue(
        self, task: Task[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> SyncTaskResult[Result]:
        """Store one call of a task for a worker; raises as ``QueueService.enqueue`` does."""
        return SyncTaskResult(self.call(lambda service: service.enqueue(task, *args, **kwargs)), self)

    def enqueue_by_name(self, name: str, /, *args: object, **kwargs: object) -> SyncTaskResult[object]:
        """Store one call of a registered task; raises as :meth:`enqueue` does, and UnknownTaskError."""
        return SyncTaskResult(self.call(lambda service: service.enqueue_by_name(name, *args, **kwargs)), self)

    def enqueue_many(self, calls: Iterable[TaskCall[Result]]) -> list[SyncTaskResult[Result]]:
        """Store many calls, made by ``task.call(...)``, all or none; raises as ``QueueService.enqueue_many`` does."""
        calls = list(calls)
        return [SyncTaskResult(made, self) for made in self.call(lambda service: service.enqueue_many(calls))]

    def within(self, connection: object) -> SyncEnqueueWithin:
        """
        Enqueue in the open transaction of your own database connection: both are committed, or neither is.

        With lq-postgres, it can be a ``Connection`` of psycopg; in Django, ``connection.connection`` inside of
        ``transaction.atomic()``. Do not use the connection in another thread meanwhile.
        """
        return SyncEnqueueWithin(connection, self)

    # ------------------------------------------------------------ look

    def get(self, record_id: UUID) -> QueuedTaskRecord | None:
        """Read a record; None if it does not exist."""
        return self.call(lambda service: service.get(record_id))

    def wait(self, record_id: UUID, *, timeout: Duration | None = None) -> QueuedTaskRecord:
        """Wait until a record has ended, and return it; raises as ``QueueService.wait`` does."""
        return self.call(lambda service: service.wait(record_id, timeout=timeout))

    def events(
        self, condition: RecordFilter = EVERYTHING, *, of: Iterable[SyncTaskResult[Result] | UUID] | None = None
    ) -> Iterator[Event]:
        """Follow the events of records: ``for event in queue.events(of=[result])``, as ``QueueService.events``."""
        ids = None if of is None else [one if isinstance(one, UUID) else one.id for one in of]

        async def followed(service: QueueService) -> AsyncGenerator[Event]:
            return service.events(condition, of=ids)

        running = self._opened()
        events = running.call(followed(running.service))
        try:
            while True:
                event = running.call(_next(events))
                if event is None:
                    return
                yield event
        finally:
            running.call(events.aclose())

    def find(
        self, condition: RecordFilter = EVERYTHING, *, limit: int = 100, before: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        """Read one page of records, newest first; *before* is the id of the last record of the page before."""
        return self.call(lambda service: service.find(condition, limit=limit, before=before))

    def count(self, condition: RecordFilter = EVERYTHING) -> int:
        """Count the matching records."""
        return self.call(lambda service: service.count(condition))

    def statistics(self) -> Statistics:
        """Count the records by queue and status."""
        return self.call(lambda service: service.statistics())

    def rollups(self, *, minutes: int = 60, queue: str | None = None) -> Sequence[Rollup]:
        """Read what has ended in each of the last *minutes*, oldest first, in one queue or in all."""
        return self.call(lambda service: service.rollups(minutes=minutes, queue=queue))

    def actions(self, *, limit: int = 50) -> Sequence[Action]:
        """Read what people have changed with commands and in the dashboard, newest first."""
        return self.call(lambda service: service.actions(limit=limit))

    def note_action(self, action: str, subject: str, *, actor: str) -> None:
        """Keep for 30 days that *actor* has changed something."""
        self.call(lambda service: service.note_action(action, subject, actor=actor))

    def demand(
        self,
        *,
        target_wait: Duration = TARGET_WAIT,
        concurrency: int | None = None,
        queues: Sequence[str] | None = None,
        statistics: Statistics | None = None,
    ) -> Demand:
        """Return how many workers the queues need; works and raises as ``QueueService.demand`` does."""
        return self.call(
            lambda service: service.demand(
                target_wait=target_wait, concurrency=concurrency, queues=queues, statistics=statistics
            )
        )

    def workers(self) -> Sequence[WorkerInfo]:
        """Read the registered workers."""
        return self.call(lambda service: service.workers())

    # ------------------------------------------------------------ change

    def cancel(self, record_id: UUID) -> bool:
        """Cancel a record, or ask its owner to stop it; raises as ``QueueService.cancel`` does."""
        return self.call(lambda service: service.cancel(record_id))

    def signal(self, record_id: UUID, name: str, value: object = None, *, timeout: Duration | None = 30.0) -> bool:
        """Send a signal with a value to a record; works and raises as ``QueueService.signal`` does."""
        return self.call(lambda service: service.signal(record_id, name, value, timeout=timeout))

    def retry(self, record_id: UUID) -> QueuedTaskRecord:
        """Start an ended record again by hand; raises as ``QueueService.retry`` does."""
        return self.call(lambda service: service.retry(record_id))

    def retry_many(self, condition: RecordFilter) -> int:
        """Retry all matching failed, cancelled and expired records; return the number."""
        return self.call(lambda service: service.retry_many(condition))

    def cancel_many(self, condition: RecordFilter) -> int:
        """Cancel all matching records that have not ended; return the number."""
        return self.call(lambda service: service.cancel_many(condition))

    def delete_many(self, condition: RecordFilter) -> int:
        """Delete all matching ended records that hold no key, as ``QueueService.delete_many`` does."""
        return self.call(lambda service: service.delete_many(condition))

    def pause(self, queue: str) -> bool:
        """Stop all claims from a queue; False if no record and no known task names this queue."""
        return self.call(lambda service: service.pause(queue))

    def resume(self, queue: str) -> None:
        """Allow claims from a paused or drained queue again."""
        self.call(lambda service: service.resume(queue))

    def limit_queue(self, queue: str, *, concurrency: int | None = None, rate: RateLimit | None = None) -> None:
        """Limit a queue over all workers; None removes a limit. Raises ConfigurationError."""
        self.call(lambda service: service.limit_queue(queue, concurrency=concurrency, rate=rate))

    def drain(self, queue: str, *, timeout: Duration | None = None) -> int:
        """Let workers run the records that are in a queue now, and return how many have not ended."""
        return self.call(lambda service: service.drain(queue, timeout=timeout))

    def queues(self) -> Mapping[str, QueueState]:
        """Read the states of the queues that have been paused, drained or limited."""
        return self.call(lambda service: service.queues())

    # ------------------------------------------------------------ schedules

    def schedules(self) -> Sequence[ScheduleState]:
        """Read the states of all schedules that workers have declared, sorted by name."""
        return self.call(lambda service: service.schedules())

    def next_times(self, name: str, count: int = 5) -> Sequence[datetime]:
        """Return the next due times of a schedule, in UTC. Raises UnknownScheduleError."""
        return self.call(lambda service: service.next_times(name, count))

    def pause_schedule(self, name: str) -> None:
        """Stop a schedule until you resume it. Raises UnknownScheduleError."""
        self.call(lambda service: service.pause_schedule(name))

    def resume_schedule(self, name: str) -> None:
        """Let a schedule fire again. Raises UnknownScheduleError."""
        self.call(lambda service: service.resume_schedule(name))

    def run_schedule(self, name: str) -> QueuedTaskRecord:
        """Enqueue the call of a schedule now; raises as ``QueueService.run_schedule`` does."""
        return self.call(lambda service: service.run_schedule(name))

    def __repr__(self) -> str:
        return f"<SyncQueueService {'open' if self._thread.is_open else 'closed'}>"

    def _opened(self) -> RunningService:
        return self._thread.opened()


async def _next(events: AsyncGenerator[Event]) -> Event | None:
    return await anext(events, None)


class WorkerSyncService(SyncQueueService):
    """The service of a worker, for the plain functions that it runs: they ask for ``SyncQueueService``."""

    def __init__(self, service: ExecutionHost) -> None:
        super().__init__(service.config)
        self._host = service

    def close(self) -> None:
        """Leave the service open: it belongs to the worker."""

    def _opened(self) -> RunningService:
        return RunningService(cast("QueueService", self._host), self._host.loop)

    def __repr__(self) -> str:
        return f"<SyncQueueService of {self._host!r}>"


FACES[SyncQueueService] = WorkerSyncService
