"""Runs the functions of claimed records in child processes, which it can kill."""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from lq_core.attempts.attempt import Attempt
from lq_core.config.queue_config import QueueConfig
from lq_core.execution import ExecutionService, InProcessExecutionBackend
from lq_core.foundation.clock import utc_now
from lq_core.foundation.duration import DurationField, duration
from lq_core.foundation.errors import ConfigurationError, TaskDefinitionError
from lq_core.foundation.import_path import module_of
from lq_core.foundation.validation import Count, check, refuse_unknown_fields
from lq_core.records.record import QueuedTaskRecord
from lq_core.service import QueueService
from lq_core.tasks.injected import without_none
from lq_core.tasks.known_tasks import known_tasks
from lq_core.tasks.provider import Provider
from lq_core.tasks.task import AnyTask
from lq_local.child import find_provider
from lq_local.child_process import ChildProcess, ProcessDiedError, start_process
from lq_local.messages import Setup

LONGEST_GRACE: Final = 4.0
"""Seconds. A worker that shuts down waits longer (SETTLE_GRACE) for its tasks."""

CLOSED: Final = "The process execution backend is not open."

Grace = Annotated[
    DurationField, Meta(ge=0, le=LONGEST_GRACE, description=f"a number of seconds from 0 to {LONGEST_GRACE:g}")
]


@refuse_unknown_fields
@dataclass(frozen=True, kw_only=True)
class ProcessExecutionConfig:
    """How many child processes a worker keeps, and how long it waits for them. Raises ConfigurationError."""

    processes: Count | None = None
    """How many records run at once, each in its own child process; None for one per processor."""

    stop_grace: Grace = duration(2.0)
    """Seconds that a function has to end after a cancellation or a timeout; then its process is killed."""

    @property
    def execution_backend(self) -> str:
        """Always ``"process"``."""
        return "process"

    def __post_init__(self) -> None:
        check(self)


class ProcessExecutionBackend(InProcessExecutionBackend):
    """
    Runs one claimed record in a child process of the worker.

    The worker owns the record; the child imports the module of the task, decodes the arguments, runs the function,
    plain or async, and encodes the result. A child that dies fails only its own record. Providers are opened in each
    child; middleware runs in the worker.
    """

    isolates: ClassVar[bool] = True

    def __init__(
        self, config: QueueConfig | None = None, *, execution_config: ProcessExecutionConfig | None = None
    ) -> None:
        super().__init__(config)
        self.execution_config = execution_config or ProcessExecutionConfig()
        self.slots = slots = self.execution_config.processes or os.cpu_count() or 1
        self._setup: Setup | None = None
        self._now: Callable[[], datetime] = utc_now
        """Returns the time of the queue backend, once this is open."""
        self._free = asyncio.Semaphore(slots)
        self._idle: list[ChildProcess] = []
        self._children: set[ChildProcess] = set()

    async def open(self, service: ExecutionService) -> None:
        """
        Prepare the children; each is started when a record needs it.

        Raises ConfigurationError for a provider that a child cannot find, and for a task that asks for a QueueService.
        """
        tasks = self._own_tasks()
        for task in tasks:
            _check(task)
        self._now = service.queue_backend.now
        self._setup = Setup(
            task_modules=service.config.task_modules,
            other_modules=tuple({module_of(task.function) for task in tasks}),
            providers=tuple(map(_path_of, service.config.providers)),
            max_result_bytes=service.config.max_payload_bytes,
            unknown_task_patience=service.config.unknown_task_patience,
            log_levels=_log_levels(),
        )

    async def close(self) -> None:
        """End the children; one that does not end by itself, or before this is cancelled, is killed."""
        children, self._children, self._setup = self._children, set(), None
        self._idle.clear()
        try:
            await asyncio.gather(*(child.close() for child in children))
        finally:
            for child in children:
                child.kill()

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        """Run one claimed record in a child and return the updated record."""
        async with self._free:
            self._idle.append(await self._child())  # If no child starts, the execution fails, and not the task.
            return await service.execute_record(record, worker_id=worker_id, perform=self._perform)

    async def _perform(self, attempt: Attempt) -> QueuedTaskRecord:
        for _ in range(2):  # A child that died while it was idle has not begun the task: another child may run it.
            child = await self._child()
            try:
                return await child.run(attempt, now=self._now())
            except ProcessDiedError:
                if child.has_begun:
                    raise
            finally:
                self._idle.append(child)
        raise ConfigurationError("Two child processes died when they received this record.")

    async def _child(self) -> ChildProcess:
        """Take an idle child, or start one. Raises ConfigurationError."""
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            self._children.discard(child)
        setup = self._setup
        if setup is None:
            raise ConfigurationError(CLOSED)
        child = ChildProcess(await start_process(), stop_grace=self.execution_config.stop_grace)
        if self._setup is not setup:
            child.kill()
            raise ConfigurationError(CLOSED)
        self._children.add(child)
        try:
            await child.set_up(setup)
        except BaseException:
            self._children.discard(child)
            raise
        return child

    def _own_tasks(self) -> list[AnyTask]:
        default = self.config.execution_backend
        name = default if isinstance(default, str) else default.execution_backend
        return [task for task in known_tasks().values() if (task.options.execution_backend or name) == self.name]


def _check(task: AnyTask) -> None:
    try:
        injected = task.codec.injected
    except TaskDefinitionError:
        return  # Its own records fail with this error.
    for parameter, annotation in injected.items():
        kind = without_none(annotation)
        if isinstance(kind, type) and issubclass(kind, QueueService):
            raise ConfigurationError(
                f"The task {task.name!r} asks for a QueueService as {parameter!r}, which a child process does "
                "not have: run it with execution_backend='local'."
            )


def _path_of(provider: Provider[object]) -> str:
    path = f"{module_of(provider.function)}:{getattr(provider.function, '__qualname__', '')}"
    try:
        found = find_provider(path)
    except (ImportError, AttributeError):
        found = None
    if found is not provider:
        raise ConfigurationError(
            f"A child process cannot find the provider {provider.name} by its name: define it with @per_worker or "
            "@per_attempt at the top level of a module."
        )
    return path


def _log_levels() -> dict[str, int]:
    loggers = logging.Logger.manager.loggerDict
    levels = {name: logger.level for name, logger in loggers.items() if isinstance(logger, logging.Logger)}
    return {"": logging.getLogger().level, **{name: level for name, level in levels.items() if level}}
