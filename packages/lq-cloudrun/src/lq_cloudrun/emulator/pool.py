"""
An emulated worker pool: as many local processes as its manual instance count, which an update of the pool changes.

A process that ends is started again, as Cloud Run restarts an instance. One that is not wanted gets SIGTERM and, after
its grace, SIGKILL.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from google.cloud.run_v2 import types as run

from lq_cloudrun.emulator.environment import DEFAULT_PATH
from lq_cloudrun.emulator.process import Program, run_program

RESTART_DELAY: Final = 0.5
"""Seconds until an instance that has ended by itself is started again."""

GRACE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL, as for the instances of a service."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmulatedPool:
    """One worker pool, whose instances are local processes instead of containers."""

    name: str
    """The short name, for example ``"workers"``."""

    command: Sequence[str]
    """The program and its arguments, without a shell."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """The whole environment of the process, besides ``CLOUD_RUN_*`` and a minimal ``PATH``."""

    instances: int = 0
    """The manual instance count to begin with."""

    image: str = "emulated"
    """The image that the API shows. The emulator does not pull it."""

    def message(self) -> run.WorkerPool:
        """Make the message that creates this pool."""
        container = run.Container(
            image=self.image,
            command=list(self.command),
            env=[run.EnvVar(name=name, value=value) for name, value in self.env.items()],
        )
        return run.WorkerPool(
            template=run.WorkerPoolRevisionTemplate(containers=[container]),
            scaling=run.WorkerPoolScaling(manual_instance_count=self.instances),
        )


class RunningPool:
    """A pool as the API shows it, and its processes. It calls *changed* when a process starts or ends."""

    def __init__(self, message: run.WorkerPool, *, name: str, log: Path, changed: Callable[[], None]) -> None:
        now: Any = datetime.now(UTC)  # proto-plus takes a datetime for a Timestamp
        self.message = message
        self.log = log
        self._changed = changed
        self._instances: dict[asyncio.Task[None], asyncio.Event] = {}
        self._running = 0
        message.name, message.uid, message.generation = name, str(uuid4()), 1
        message.create_time = message.update_time = now
        self._fill()
        log.touch()

    @property
    def running(self) -> int:
        """How many processes run."""
        return self._running

    def replace(self, message: run.WorkerPool) -> None:
        """Show another version of the pool, and start or stop processes to match it."""
        message.generation = self.message.generation + 1
        now: Any = datetime.now(UTC)
        message.update_time = now
        self.message = message
        self._fill()
        self.scale()

    def scale(self) -> None:
        """Start or stop processes until there are as many as wanted."""
        wanted = self.message.scaling.manual_instance_count
        staying = [(task, stop) for task, stop in self._instances.items() if not stop.is_set()]
        for _, stop in staying[wanted:]:
            stop.set()
        for _ in range(wanted - len(staying)):
            stop = asyncio.Event()
            task = asyncio.create_task(self._keep_running(stop))
            self._instances[task] = stop
            task.add_done_callback(self._instances.pop)

    async def stop(self) -> None:
        """End all processes."""
        tasks = list(self._instances)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self) -> None:
        """Set what the service sets."""
        message = self.message
        message.etag = f'"{uuid4().hex}"'
        message.observed_generation = message.generation
        message.reconciling = False
        message.terminal_condition = run.Condition(type_="Ready", state=run.Condition.State.CONDITION_SUCCEEDED)

    async def _keep_running(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._count(1)
            try:
                await run_program(self._program(), output=self._output, stop=stop)
            finally:
                self._count(-1)
            try:
                async with asyncio.timeout(RESTART_DELAY):
                    await stop.wait()
            except TimeoutError:
                pass

    def _count(self, change: int) -> None:
        self._running += change
        self._changed()

    def _output(self, chunk: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(chunk)
        self._changed()

    def _program(self) -> Program:
        container = self.message.template.containers[0]
        return Program(
            command=[*container.command, *container.args],
            env={
                "PATH": DEFAULT_PATH,
                **{each.name: each.value for each in container.env},
                "CLOUD_RUN_WORKER_POOL": self.message.name.rpartition("/")[2],
                "CLOUD_RUN_REVISION": f"{self.message.name.rpartition('/')[2]}-{self.message.generation:05}",
            },
            working_directory=None,
            timeout=inf,
            grace=GRACE,
        )
