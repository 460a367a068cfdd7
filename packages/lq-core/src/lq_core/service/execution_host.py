"""The part of the service that workers and execution backends use: owners of records, and execution backends."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Final, Self, TypeVar

from lq_core.attempts.attempt import Perform
from lq_core.attempts.injector import Injector
from lq_core.config.queue_config import QueueConfig, checked
from lq_core.execution import BaseExecutionBackend
from lq_core.foundation.duration import Duration
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.event_log import event_log
from lq_core.presence.directory import Presences
from lq_core.presence.outcome_storing import Ends, Settling
from lq_core.presence.presence import Presence
from lq_core.presence.rollup_recorder import RollupRecorder
from lq_core.queue import BaseQueueBackend, get_queue_backend
from lq_core.queue.messages import Statistics
from lq_core.records.record import QueuedTaskRecord
from lq_core.service.completion import Completions
from lq_core.service.demand import TARGET_WAIT, Demand, read_demand
from lq_core.service.executions import Executions
from lq_core.service.inline import InlineRuns
from lq_core.service.new_records import RecordMaker
from lq_core.service.task_modules import import_tasks
from lq_core.tasks.call import TaskCall
from lq_core.tasks.context import CURRENT, current_loop
from lq_core.tasks.task import AnyTask

Result = TypeVar("Result")

log = event_log()

FACES: Final[dict[type, Callable[["ExecutionHost"], object]]] = {}
"""Other forms of the service that tasks may ask for, by type, and how to make them."""


class ExecutionHost:
    """
    The base of QueueService, with all that a worker, an execution backend or a testbed needs.

    It keeps the configuration, both kinds of backends, and the owners of the records that run in this process.
    """

    def __init__(self, config: QueueConfig | None = None, *, queue_backend: BaseQueueBackend | None = None) -> None:
        self.config = checked(config)
        self.queue_backend = queue_backend or get_queue_backend(self.config.queue_backend, self.config)
        self.ends = Ends()
        """Rings when a possible predecessor of other records has ended in this process."""

        self._executions = Executions(self.config)
        self._maker = RecordMaker(self.config, self._executions, self.queue_backend)
        offered = self._offered_to_tasks()
        given: dict[object, object] = {kind: make(offered) for kind, make in FACES.items()}
        given.update(dict.fromkeys(type(offered).__mro__[:-1], offered))
        self._injector = Injector(self.config.providers, given=given)
        self._rollups = RollupRecorder(self.queue_backend)
        self._inline = InlineRuns(self, self._executions, lambda: self._open()[0].own)
        self._started: tuple[Presences, Completions] | None = None
        self._presences: Presences | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entered = 0
        self._changing = asyncio.Lock()
        """Held while it is opened or closed."""

    async def open(self) -> Self:
        """
        Import the task modules and open the queue backend.

        Raises ConfigurationError when a task module cannot be imported, StorageError when the database cannot be used.
        """
        async with self._changing:
            if self._started is None:
                await self._open_now()
        self._open()
        return self

    async def _open_now(self) -> None:
        self.check_backends()
        import_tasks(self.config.task_modules)
        await self._open_backend()
        completions = Completions(self.queue_backend.get_many, poll_interval=self.config.poll_interval)
        settling = Settling(self.queue_backend, announce=completions.announce, ends=self.ends, rollups=self._rollups)
        self._injector.open()
        self._presences = Presences(
            self.queue_backend, settling, injector=self._injector, middleware=self.config.middleware
        )
        self._started = self._presences, completions
        self._loop = asyncio.get_running_loop()

    def _offered_to_tasks(self) -> "ExecutionHost":
        """Return the service that tasks get injected."""
        return self

    async def _open_backend(self) -> None:
        await self.queue_backend.open()
        log.info("service.opened", extra={"queue_backend": self.queue_backend.address})

    async def _close_backend(self) -> None:
        await self.queue_backend.close()

    async def close(self) -> None:
        """
        Release the records that run inline, and close the values per worker and the backends; twice is harmless.

        Raises ConfigurationError in another event loop than that which opened it, and in a task that it runs.
        """
        async with self._changing:
            if self._started is None:
                return
            self.check_can_close()
            presences, completions = self._open()
            try:
                async with AsyncExitStack() as closing:
                    # Each is closed, even if closing another one fails or is cancelled.
                    closing.push_async_callback(self._close_backend)
                    for each in (self._rollups, self._executions, completions, self._injector, presences):
                        closing.push_async_callback(each.close)
            finally:
                self._started = None
                self._changing = asyncio.Lock()  # A lock belongs to one event loop, and the next one may be another.

    def check_can_close(self) -> None:
        """Raise ConfigurationError in another event loop than that which opened it, and in a task that it runs."""
        if self._started is None:
            return
        presences, running = self._open()[0], CURRENT.get()
        if running is not None and presences.runs((running.record.id, running.record.epoch)):
            raise ConfigurationError(
                f"The task {running.record.task_name!r} cannot close the QueueService that runs it: return instead."
            )

    async def __aenter__(self) -> Self:
        await self.open()
        self._entered += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if not self._entered:
            await self.close()

    def new_presence(
        self,
        *,
        queues: tuple[str, ...] | None = None,
        execution_backends: tuple[str, ...] = (),
        concurrency: int = 0,
    ) -> Presence:
        """
        Make an owner of records in this process; its ``start()`` registers it with these facts.

        Close it when you no longer need it; closing the service closes it too.
        """
        return self._open()[0].new(queues=queues, execution_backends=execution_backends, concurrency=concurrency)

    def execute_record(
        self, record: QueuedTaskRecord, *, worker_id: str | None = None, perform: Perform | None = None
    ) -> Coroutine[None, None, QueuedTaskRecord]:
        """
        Run a record and store its outcome; claim it first if it is not claimed yet.

        This process owns the record while it runs. *perform* runs its function, if you give one.
        Raises OwnershipLostError if it cannot be claimed.
        """
        return self._open()[0].run(record, worker_id=worker_id, perform=perform)

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self._started is not None

    async def swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> bool:
        """Store *new*, a step of the lifecycle from *old*; False if *old* is no longer the stored record."""
        return await self._open()[0].settling.swap(old, new)

    async def demand(
        self,
        *,
        target_wait: Duration = TARGET_WAIT,
        concurrency: int | None = None,
        queues: Sequence[str] | None = None,
        statistics: Statistics | None = None,
    ) -> Demand:
        """
        Return how many workers the work needs, so that due records start within *target_wait* seconds.

        One worker runs *concurrency* records at once, by default as many as ``QueueConfig.concurrency`` says. Only
        records of *queues* count, by default of ``QueueConfig.queues``. It reads at most 400 records, and the
        *statistics* if you have not just read them. Raises ConfigurationError for values that cannot work.
        """
        slots = self.config.concurrency if concurrency is None else concurrency
        names = self.config.queues if queues is None else queues
        return await read_demand(
            self._queue, target_wait=target_wait, concurrency=slots, queues=names, statistics=statistics
        )

    @property
    def worker_ids(self) -> frozenset[str]:
        """The ids under which workers of this process are registered."""
        return self._open()[0].ids()

    def running(self) -> list[str]:
        """Return the task names of all records that run here; after closing, of those that did not stop."""
        return self._presences.running() if self._presences is not None else []

    async def execution_backend(self, name: str) -> BaseExecutionBackend:
        """Return the open execution backend of this name. Raises UnknownBackendError."""
        self._open()
        return await self._executions.opened(name, self)

    async def execution_backends(self) -> Mapping[str, BaseExecutionBackend]:
        """
        Open every execution backend that this process can use: the configured ones, then the installed ones.

        Raises the error of a configured backend that cannot be opened; leaves out other backends that cannot.
        """
        self._open()
        return await self._executions.usable(self)

    def check_backends(self) -> None:
        """Raise UnknownBackendError if the configuration names an unknown execution backend."""
        self._executions.check()

    def is_external(self, execution_backend: str) -> bool:
        """Whether this execution backend runs records in another process; False if it is not usable here."""
        return self._executions.is_external(execution_backend)

    def record_of(self, call: TaskCall[Result], *, at: datetime) -> QueuedTaskRecord:
        """Make the record of a call without storing it; raises the errors of :meth:`enqueue` that concern the call."""
        self._open()
        return self._maker.one(call, at=at)

    def missing_values(self, task: AnyTask) -> Mapping[str, object]:
        """Return the parameters of a task that no provider provides, with their types."""
        return self._injector.missing(task.codec.injected)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that uses this service. Raises ConfigurationError if the service is closed."""
        if self._started is None or self._loop is None:
            raise ConfigurationError("The QueueService is not open: use `async with QueueService(config) as queue`.")
        return self._loop

    def _open(self) -> tuple[Presences, Completions]:
        if self._started is None:
            raise ConfigurationError("The QueueService is not open: use `async with QueueService(config) as queue`.")
        if self._loop is not current_loop():
            raise ConfigurationError(
                "The QueueService was opened in another event loop, or no event loop runs here: open another one with "
                "`async with QueueService(config) as queue`, or hand the call to that loop with "
                "asyncio.run_coroutine_threadsafe(...)."
            )
        return self._started

    @property
    def _queue(self) -> BaseQueueBackend:
        self._open()
        return self.queue_backend
