"""
One execution of an emulated job: its tasks, their attempts, and their endings.

It only moves forward: waiting, running, then one of three ends. The API reads all facts about an execution here.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from uuid import uuid4

from google.cloud.run_v2 import types as run

from lq_cloudrun.emulator.environment import container_environment
from lq_cloudrun.emulator.held_calls import Hold
from lq_cloudrun.emulator.job import EmulatedJob
from lq_cloudrun.emulator.process import Ending, Program, run_program


class Phase(Enum):
    """The phase of an execution, or of one of its tasks."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether this phase is final."""
        return self in {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}


class ImageFailure(Enum):
    """Why a container cannot start. The names are those of Cloud Run's reasons."""

    CONTAINER_MISSING = "CONTAINER_MISSING"
    CONTAINER_PERMISSION_DENIED = "CONTAINER_PERMISSION_DENIED"
    SECRETS_ACCESS_CHECK_FAILED = "SECRETS_ACCESS_CHECK_FAILED"


@dataclass(kw_only=True, slots=True)
class EmulatedTask:
    """One task of an execution."""

    index: int
    phase: Phase = Phase.WAITING
    retried: int = 0
    ending: Ending | None = None
    """How the last finished attempt ended."""

    started_at: datetime | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StartFaults:
    """The faults at the start of an execution."""

    hold: Hold | None = None
    image_failure: ImageFailure | None = None
    spurious_retries: int = 0


@dataclass(kw_only=True, slots=True)
class EmulatedExecution:
    """
    One execution, from its creation on.

    It calls *changed* after every change, and *output* with the text that the processes print.
    """

    name: str
    """The full name, ``projects/…/executions/reports-abcde``."""

    number: int
    """The number of the execution, counted over the whole emulator."""

    job: EmulatedJob
    env: Mapping[str, str]
    args: Sequence[str]
    timeout: float
    task_count: int
    sidecar_env: Mapping[str, Mapping[str, str]]
    """The variables of each sidecar that this execution overrides."""

    log: Path
    faults: StartFaults
    changed: Callable[[str], None]
    output: Callable[[bytes], None]
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: datetime | None = None
    completed_at: datetime | None = None
    phase: Phase = Phase.WAITING
    deleted_at: datetime | None = None
    image_failure: ImageFailure | None = None
    cancelling: bool = False
    template: run.TaskTemplate | None = None
    """Its template as the API shows it, once it has been shown: it never changes, and takes time to make."""

    uid: str = field(default_factory=lambda: str(uuid4()))
    version: int = 0
    """How often it has changed."""

    tasks: list[EmulatedTask] = field(default_factory=list[EmulatedTask])
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _places: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        """Make the tasks."""
        self.tasks = [EmulatedTask(index=index) for index in range(self.task_count)]
        self._places = asyncio.Semaphore(self.parallelism)

    @property
    def short_name(self) -> str:
        """The last part of the name, which is also the value of ``CLOUD_RUN_EXECUTION``."""
        return self.name.rpartition("/")[2]

    @property
    def parallelism(self) -> int:
        """How many tasks run at once."""
        return min(self.job.parallelism or self.task_count, self.task_count)

    @property
    def etag(self) -> str:
        """The fingerprint of this version."""
        return f'"{self.uid[:8]}-{self.version}"'

    @property
    def retried_count(self) -> int:
        """The number of tasks that were started more than once."""
        return sum(1 for task in self.tasks if task.retried)

    @property
    def failed_task(self) -> EmulatedTask | None:
        """The first task that failed for good."""
        return next((task for task in self.tasks if task.phase is Phase.FAILED), None)

    def count(self, phase: Phase) -> int:
        """Count the tasks in *phase*."""
        return sum(1 for task in self.tasks if task.phase is phase)

    def cancel(self) -> None:
        """Ask the processes to end. The execution ends with them."""
        self.cancelling = True
        self._stop.set()
        self._has_changed("execution.cancelling")

    def delete(self) -> None:
        """Hide it from now on. Its processes end."""
        self.deleted_at = datetime.now(UTC)
        if not (self.phase.over or self.cancelling):
            self.cancel()
        self._has_changed("execution.deleted")

    async def run(self) -> None:
        """Run this execution to its end."""
        await self._until_started()
        if not self.cancelling and self.faults.image_failure:
            self.image_failure = self.faults.image_failure
            self._end(Phase.FAILED)
            return
        if not self.cancelling:
            self.phase = Phase.RUNNING
            self.started_at = datetime.now(UTC)
            self._has_changed("execution.started")
        async with asyncio.TaskGroup() as group:
            for task in self.tasks:
                group.create_task(self._run_in_turn(task))
        self._end(self._outcome())

    async def _until_started(self) -> None:
        start = asyncio.create_task(self._start_is_due())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            start.cancel()
            stop.cancel()

    async def _start_is_due(self) -> None:
        await asyncio.sleep(self.job.start_delay)
        if self.faults.hold:
            await self.faults.hold.wait()

    async def _run_in_turn(self, task: EmulatedTask) -> None:
        async with self._places:
            await self._run_task(task)

    async def _run_task(self, task: EmulatedTask) -> None:
        spurious = self.faults.spurious_retries
        while not self.cancelling:
            task.phase = Phase.RUNNING
            task.started_at = task.started_at or datetime.now(UTC)
            self._has_changed("task.started")
            task.ending = await run_program(self._program(task), output=self.output, stop=self._stop)
            if self.cancelling:
                break
            failed_again = not task.ending.succeeded and task.retried < self.job.max_retries + spurious
            if task.retried >= spurious and not failed_again:
                self._end_task(task, Phase.SUCCEEDED if task.ending.succeeded else Phase.FAILED)
                return
            task.retried += 1
            self._has_changed("task.retried")
        self._end_task(task, Phase.CANCELLED)

    def _program(self, task: EmulatedTask) -> Program:
        return Program(
            command=[*self.job.command, *self.args],
            env=container_environment(
                self.env,
                job=self.job.name,
                execution=self.short_name,
                index=task.index,
                attempt=task.retried,
                count=self.task_count,
            ),
            working_directory=self.job.working_directory,
            timeout=self.timeout,
            grace=self.job.grace,
        )

    def _outcome(self) -> Phase:
        if self.failed_task:
            return Phase.FAILED
        return Phase.CANCELLED if self.count(Phase.CANCELLED) else Phase.SUCCEEDED

    def _end_task(self, task: EmulatedTask, phase: Phase) -> None:
        task.phase = phase
        task.completed_at = datetime.now(UTC)
        self._has_changed(f"task.{phase.value}")

    def _end(self, phase: Phase) -> None:
        self.phase = phase
        self.completed_at = datetime.now(UTC)
        self._has_changed(f"execution.{phase.value}")

    def _has_changed(self, event: str) -> None:
        self.version += 1
        self.changed(event)
