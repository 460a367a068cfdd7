"""
One execution of an emulated job: its tasks, their attempts, and what became of them.

It only moves forward: waiting, running, then one of three ends. Everything that the API says about an
execution is read from here.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from lq_cloudrun.emulator.environment import container_environment
from lq_cloudrun.emulator.hold import Hold
from lq_cloudrun.emulator.job import EmulatedJob
from lq_cloudrun.emulator.process import Ending, Program, run_program


class Phase(Enum):
    """Where an execution, or one task of it, is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self in {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}


class ImageFailure(Enum):
    """Why a container cannot be started at all; the names are those of Cloud Run's reasons."""

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
    """How the last attempt that is over ended."""

    started_at: datetime | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StartFaults:
    """What shall go wrong when an execution starts."""

    hold: Hold | None = None
    image_failure: ImageFailure | None = None
    spurious_retries: int = 0


@dataclass(kw_only=True, slots=True)
class EmulatedExecution:
    """
    One execution, from its creation on.

    *changed* is called after every change, *output* with whatever the processes print.
    """

    name: str
    """The full name, ``projects/…/executions/reports-abcde``."""

    number: int
    """Rises by one with every execution of the emulator."""

    job: EmulatedJob
    env: Mapping[str, str]
    args: Sequence[str]
    timeout: float
    task_count: int
    log: Path
    faults: StartFaults
    changed: Callable[[str], None]
    output: Callable[[bytes], None]
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: datetime | None = None
    completed_at: datetime | None = None
    phase: Phase = Phase.WAITING
    image_failure: ImageFailure | None = None
    cancelling: bool = False
    tasks: list[EmulatedTask] = field(default_factory=list[EmulatedTask])
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Make the tasks."""
        self.tasks = [EmulatedTask(index=index) for index in range(self.task_count)]

    @property
    def short_name(self) -> str:
        """The last part of the name, as ``CLOUD_RUN_EXECUTION`` has it."""
        return self.name.rpartition("/")[2]

    @property
    def retried_count(self) -> int:
        """How many tasks have been started more than once."""
        return sum(1 for task in self.tasks if task.retried)

    @property
    def failed_task(self) -> EmulatedTask | None:
        """The first task that failed for good."""
        return next((task for task in self.tasks if task.phase is Phase.FAILED), None)

    def count(self, phase: Phase) -> int:
        """How many tasks are in *phase*."""
        return sum(1 for task in self.tasks if task.phase is phase)

    def cancel(self) -> None:
        """Ask the processes to end; the execution is over when they have."""
        self.cancelling = True
        self._stop.set()
        self.changed("execution.cancelling")

    async def run(self) -> None:
        """Live this execution to its end."""
        await self._until_started()
        if not self.cancelling and self.faults.image_failure:
            self.image_failure = self.faults.image_failure
            self._end(Phase.FAILED)
            return
        if not self.cancelling:
            self.phase = Phase.RUNNING
            self.started_at = datetime.now(UTC)
            self.changed("execution.started")
        async with asyncio.TaskGroup() as group:
            for task in self.tasks:
                group.create_task(self._run_task(task))
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

    async def _run_task(self, task: EmulatedTask) -> None:
        spurious = self.faults.spurious_retries
        while not self.cancelling:
            task.phase = Phase.RUNNING
            task.started_at = task.started_at or datetime.now(UTC)
            self.changed("task.started")
            task.ending = await run_program(self._program(task), output=self.output, stop=self._stop)
            if self.cancelling:
                break
            failed_again = not task.ending.succeeded and task.retried < self.job.max_retries + spurious
            if task.retried >= spurious and not failed_again:
                self._end_task(task, Phase.SUCCEEDED if task.ending.succeeded else Phase.FAILED)
                return
            task.retried += 1
            self.changed("task.retried")
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
        self.changed(f"task.{phase.value}")

    def _end(self, phase: Phase) -> None:
        self.phase = phase
        self.completed_at = datetime.now(UTC)
        self.changed(f"execution.{phase.value}")
