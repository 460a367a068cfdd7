"""
The emulated project: its jobs, their executions, and the asyncio tasks that run them.

It does not depend on gRPC calls; it refuses a request with a :class:`RefusedError`.
"""

import asyncio
import secrets
import string
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import grpc
from typing_extensions import override

from lq_cloudrun.emulator.execution import EmulatedExecution
from lq_cloudrun.emulator.faults import Faults
from lq_cloudrun.emulator.job import EmulatedJob
from lq_cloudrun.emulator.kept_job import KeptJob
from lq_cloudrun.emulator.names import Names
from lq_cloudrun.emulator.quota import Quota
from lq_cloudrun.emulator.rules import Limits
from lq_core.foundation.event_log import event_log

log = event_log("lq_cloudrun.emulator")

_TOKEN: Final = string.ascii_lowercase + string.digits


class RefusedError(Exception):
    """A request that Cloud Run would refuse, and the code of the refusal."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    @override
    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class Bell:
    """Lets a test wait for a state: each change rings it, and all waiters look again. It serves one event loop."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Make all waiters look again."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait_until(self, check: Callable[[], bool], *, within: float) -> None:
        """Wait until *check* holds; raises TimeoutError after *within* seconds."""
        async with asyncio.timeout(within):
            while not check():
                await self._rung.wait()


class EmulatedProject:
    """One project in one region."""

    def __init__(self, jobs: Sequence[EmulatedJob], *, names: Names, limits: Limits) -> None:
        self.names = names
        self.location = names.location
        self.limits = limits
        self.bell = Bell()
        self.calls: Counter[str] = Counter()
        self.executions: dict[str, EmulatedExecution] = {}
        self.faults = Faults(created=lambda: len(self.executions))
        self.operations: dict[str, EmulatedExecution] = {}
        self.jobs = {names.job(job.name): KeptJob(name=names.job(job.name), job=job) for job in jobs}
        self._deleted_jobs: list[KeptJob] = []
        self._quota = Quota(limits.runs_per_minute)
        self._ended: defaultdict[str, deque[EmulatedExecution]] = defaultdict(deque)
        """The ended executions of each job that are kept, the oldest first."""

        self._running: set[asyncio.Task[None]] = set()
        if len(self.jobs) != len(jobs):
            msg = f"Two jobs have the same name: {', '.join(sorted(job.name for job in jobs))}."
            raise ValueError(msg)

    def job(self, name: str) -> KeptJob:
        """Find the job with this full name. Raises RefusedError."""
        found = self.jobs.get(self.names.canonical(name))
        if found is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no job {name!r}. Known: {', '.join(self.jobs)}.")
        return found

    def keep_job(self, kept: KeptJob) -> None:
        """Create a job, or replace it. Raises RefusedError if there are too many."""
        if kept.name not in self.jobs and len(self.jobs) >= self.limits.jobs:
            raise _exhausted(f"There are {len(self.jobs)} jobs in this region, which is the limit.")
        self.jobs[kept.name] = kept

    def delete_job(self, kept: KeptJob) -> KeptJob:
        """Delete a job and its executions."""
        for execution in self.executions_of(kept.job):
            if self.shows(execution):
                execution.delete()
        del self.jobs[kept.name]
        self._deleted_jobs.append(kept.deleted())
        return self._deleted_jobs[-1]

    def listed_jobs(self, *, deleted: bool) -> list[KeptJob]:
        """Return the jobs by name, with those that were *deleted* as well or without them."""
        return sorted([*self.jobs.values(), *(self._deleted_jobs if deleted else ())], key=lambda kept: kept.name)

    def execution(self, name: str) -> EmulatedExecution:
        """Find the execution with this full name, unless it is gone; its job may be a dash. Raises RefusedError."""
        self._forget_old()
        canonical = self.names.canonical(name)
        found = self.executions.get(canonical)
        if found is None and "/jobs/-/" in canonical:
            ending = canonical.partition("/jobs/-")[2]
            found = next((each for each in self.executions.values() if each.name.endswith(ending)), None)
        if found is None or not self.shows(found):
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no execution {name!r}.")
        return found

    def executions_of(self, job: EmulatedJob) -> list[EmulatedExecution]:
        """Return the executions of a job, oldest first."""
        return [execution for execution in self.executions.values() if execution.job.name == job.name]

    def shows(self, execution: EmulatedExecution, *, deleted: bool = False) -> bool:
        """Whether the API still knows an execution; one that was *deleted* only if that is asked for."""
        return self.faults.shows(execution.name) and (deleted or execution.deleted_at is None)

    def listed(self, executions: Iterable[EmulatedExecution], *, deleted: bool) -> list[EmulatedExecution]:
        """Return those of *executions* that a list shows, the newest first."""
        self._forget_old()
        return [
            each
            for each in reversed(list(executions))
            if self.shows(each, deleted=deleted) and self.faults.lists(each.number)
        ]

    def take_quota(self) -> None:
        """Count a call of RunJob. Raises RefusedError if there are too many calls or running executions."""
        if not self._quota.allows(time.monotonic()):
            raise _exhausted("Quota exceeded for quota metric 'Job run requests' and limit 'per minute per region'.")
        if len(self._running) >= self.limits.running_executions:
            raise _exhausted(f"{len(self._running)} executions run in this region, which is the limit.")

    def _forget_old(self) -> None:
        """Make the executions vanish that ended long ago and are not among the newest of their job."""
        oldest = datetime.now(UTC) - timedelta(seconds=self.limits.kept_seconds)
        for ended in self._ended.values():
            while len(ended) > self.limits.kept_executions and (ended[0].completed_at or oldest) <= oldest:
                self.faults.vanish(ended.popleft().name)

    def start(
        self,
        job: EmulatedJob,
        *,
        env: Mapping[str, str],
        args: Sequence[str],
        timeout: float,
        task_count: int,
        sidecar_env: Mapping[str, Mapping[str, str]],
        logs: Path,
    ) -> EmulatedExecution:
        """Create an execution of *job*, and begin to run it."""
        short_name = self._free_name(job)
        path = logs / f"{short_name}.log"

        def changed(event: str) -> None:
            _log(event, execution)
            self.bell.ring()

        def output(chunk: bytes) -> None:
            with path.open("ab") as file:
                file.write(chunk)
            self.bell.ring()

        execution = EmulatedExecution(
            name=f"{self.names.job(job.name)}/executions/{short_name}",
            number=len(self.executions) + 1,
            job=job,
            env=env,
            args=args,
            timeout=timeout,
            task_count=task_count,
            sidecar_env=sidecar_env,
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
        running.add_done_callback(lambda _: self._ended[job.name].append(execution))
        return execution

    def _free_name(self, job: EmulatedJob) -> str:
        while True:
            short_name = f"{job.name}-{''.join(secrets.choice(_TOKEN) for _ in range(5))}"
            if f"{self.names.job(job.name)}/executions/{short_name}" not in self.executions:
                return short_name

    def operation(self, execution: EmulatedExecution) -> str:
        """Open a long-running operation that ends with *execution*, and return its name."""
        name = f"{self.location}/operations/{uuid4()}"
        self.operations[name] = execution
        return name

    async def stop(self) -> None:
        """End every process of the executions."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _exhausted(message: str) -> RefusedError:
    return RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


def _log(event: str, execution: EmulatedExecution) -> None:
    log.info(
        event,
        extra={
            "execution": execution.short_name,
            "job": execution.job.name,
            "retried_count": execution.retried_count,
            "log": str(execution.log),
        },
    )
