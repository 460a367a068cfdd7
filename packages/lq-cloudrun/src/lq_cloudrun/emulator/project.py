"""
The emulated project: its jobs, the executions they have had, and the tasks that keep them running.

It knows nothing of gRPC; what it refuses, it refuses with a :class:`RefusedError`.
"""

import asyncio
import logging
import secrets
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import grpc
from typing_extensions import override

from lq_cloudrun.emulator.bell import Bell
from lq_cloudrun.emulator.execution import EmulatedExecution
from lq_cloudrun.emulator.faults import Faults
from lq_cloudrun.emulator.job import EmulatedJob

log = logging.getLogger("lq_cloudrun.emulator")

_TOKEN: Final = string.ascii_lowercase + string.digits


class RefusedError(Exception):
    """A request that Cloud Run would refuse, with the code it would use."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    @override
    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class EmulatedProject:
    """One project in one region."""

    def __init__(self, jobs: Sequence[EmulatedJob], *, project: str, region: str) -> None:
        self.location = f"projects/{project}/locations/{region}"
        self.bell = Bell()
        self.calls: Counter[str] = Counter()
        self.executions: dict[str, EmulatedExecution] = {}
        self.faults = Faults(created=lambda: len(self.executions))
        self.operations: dict[str, EmulatedExecution] = {}
        self._jobs = {self.job_name(job.name): job for job in jobs}
        self._running: set[asyncio.Task[None]] = set()
        if len(self._jobs) != len(jobs):
            msg = f"Two jobs have the same name: {', '.join(sorted(job.name for job in jobs))}."
            raise ValueError(msg)

    def job_name(self, short_name: str) -> str:
        """The full name of the job *short_name*."""
        return f"{self.location}/jobs/{short_name}"

    def job(self, name: str) -> EmulatedJob:
        """The job with this full name."""
        found = self._jobs.get(name)
        if found is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no job {name!r}. Known: {', '.join(self._jobs)}.")
        return found

    def execution(self, name: str) -> EmulatedExecution:
        """The execution with this full name, unless it has vanished."""
        found = self.executions.get(name)
        if found is None or not self.faults.shows(name):
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no execution {name!r}.")
        return found

    def executions_of(self, job: EmulatedJob) -> list[EmulatedExecution]:
        """The executions *job* has had, oldest first."""
        return [execution for execution in self.executions.values() if execution.job is job]

    def start(
        self,
        job: EmulatedJob,
        *,
        env: Mapping[str, str],
        args: Sequence[str],
        timeout: float,
        task_count: int,
        logs: Path,
    ) -> EmulatedExecution:
        """Create an execution of *job*, and begin to run it."""
        short_name = self._free_name(job)
        path = logs / f"{short_name}.log"

        def changed(event: str) -> None:
            _tell(event, execution)
            self.bell.ring()

        def output(chunk: bytes) -> None:
            with path.open("ab") as file:
                file.write(chunk)
            self.bell.ring()

        execution = EmulatedExecution(
            name=f"{self.job_name(job.name)}/executions/{short_name}",
            number=len(self.executions) + 1,
            job=job,
            env=env,
            args=args,
            timeout=timeout,
            task_count=task_count,
            log=path,
            faults=self.faults.next_start(job.name),
            changed=changed,
            output=output,
        )
        path.touch()
        self.executions[execution.name] = execution
        changed("execution.created")
        running = asyncio.create_task(execution.run(), name=short_name)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return execution

    def _free_name(self, job: EmulatedJob) -> str:
        while True:
            short_name = f"{job.name}-{''.join(secrets.choice(_TOKEN) for _ in range(5))}"
            if f"{self.job_name(job.name)}/executions/{short_name}" not in self.executions:
                return short_name

    def operation(self, execution: EmulatedExecution) -> str:
        """Open a long-running operation that ends with *execution*, and give its name."""
        name = f"{self.location}/operations/{uuid4()}"
        self.operations[name] = execution
        return name

    async def stop(self) -> None:
        """End every process that was started here."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _tell(event: str, execution: EmulatedExecution) -> None:
    log.info(
        event,
        extra={
            "execution": execution.short_name,
            "job": execution.job.name,
            "retried_count": execution.retried_count,
            "log": str(execution.log),
        },
    )
