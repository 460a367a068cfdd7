"""
The emulator that a test or a program opens, asks, waits for and closes.

It keeps its state in memory. Closing it ends every process that it started.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from google.cloud.run_v2 import types as run
from typing_extensions import override

from lq_cloudrun.emulator.execution import Phase
from lq_cloudrun.emulator.faults import Faults, MethodName
from lq_cloudrun.emulator.job import EmulatedJob
from lq_cloudrun.emulator.job_methods import JobMethods
from lq_cloudrun.emulator.messages import execution_message
from lq_cloudrun.emulator.methods import Methods
from lq_cloudrun.emulator.names import Names
from lq_cloudrun.emulator.pool import EmulatedPool
from lq_cloudrun.emulator.pools import PoolMethods
from lq_cloudrun.emulator.project import EmulatedProject
from lq_cloudrun.emulator.rules import GOOGLE_LIMITS, Limits
from lq_cloudrun.emulator.server import Server
from lq_cloudrun.emulator.wire import copied


class Emulator:
    """
    Emulates Cloud Run jobs and worker pools for one project and region, in the event loop that opens it.

    Give :attr:`address` to Google's clients as an insecure channel. Use :class:`EmulatorThread` for tests without an
    event loop, or with an event loop that blocks.
    """

    def __init__(
        self,
        jobs: Sequence[EmulatedJob],
        *,
        pools: Sequence[EmulatedPool] = (),
        project: str = "emulated",
        project_number: str = "123456789012",
        region: str = "us-central1",
        limits: Limits = GOOGLE_LIMITS,
        port: int = 0,
        log_directory: Path | None = None,
    ) -> None:
        """Prepare to emulate *jobs* and *pools*. Without *log_directory*, closing deletes their output."""
        self._given_pools = pools
        self._project = EmulatedProject(jobs, names=Names(project, project_number, region), limits=limits)
        self._port = port
        self._log_directory = log_directory
        self._open = AsyncExitStack()
        self._address: str | None = None
        self._pools = PoolMethods(self._project, logs=Path())

    @override
    def __repr__(self) -> str:
        return f"<Emulator address={self._address} executions={len(self._project.executions)}>"

    async def __aenter__(self) -> Self:
        """Start to serve."""
        async with AsyncExitStack() as stack:
            logs = self._log_directory or Path(stack.enter_context(TemporaryDirectory(prefix="lq-cloudrun-")))
            logs.mkdir(parents=True, exist_ok=True)
            stack.push_async_callback(self._project.stop)
            self._pools = PoolMethods(self._project, logs=logs.resolve())
            stack.push_async_callback(self._pools.stop)
            for pool in self._given_pools:
                self._pools.create_worker_pool(
                    run.CreateWorkerPoolRequest(
                        parent=self.location, worker_pool_id=pool.name, worker_pool=pool.message()
                    )
                )
            methods = Methods(self._project, logs=logs.resolve())
            server = Server(self._project, methods, JobMethods(self._project), self._pools)
            stack.push_async_callback(server.stop)
            self._address = await server.start(port=self._port)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop serving, and end every process that it started."""
        self._address = None
        await self._open.aclose()

    @property
    def address(self) -> str:
        """Host and port, for example ``"127.0.0.1:41234"``."""
        if self._address is None:
            msg = "The emulator is not open. Use it in an 'async with' block."
            raise RuntimeError(msg)
        return self._address

    @property
    def location(self) -> str:
        """``projects/…/locations/…``, the beginning of every name."""
        return self._project.location

    @property
    def faults(self) -> Faults:
        """The faults to inject."""
        return self._project.faults

    def job_name(self, job: str) -> str:
        """Return the full name of a job."""
        return self._project.names.job(job)

    def executions(self, job: str | None = None) -> list[str]:
        """Return the full names of the executions of *job*, or of all jobs, oldest first, including vanished ones."""
        return [name for name, execution in self._project.executions.items() if job in {None, execution.job.name}]

    def calls(self, method: MethodName) -> int:
        """Return how often *method* was called, whatever the answer was."""
        return self._project.calls[method]

    def execution(self, name: str) -> run.Execution:
        """Return the execution with this full name, as the API shows it."""
        return execution_message(self._project.executions[name])

    def phase(self, name: str) -> Phase:
        """Return the phase of the execution with this full name."""
        return self._project.executions[name].phase

    def output(self, name: str) -> str:
        """Return what the processes of the execution with this full name have printed so far."""
        return self._project.executions[name].log.read_text(errors="replace")

    def pool_name(self, pool: str) -> str:
        """Return the full name of a worker pool."""
        return f"{self.location}/workerPools/{pool}"

    def pool(self, name: str) -> run.WorkerPool:
        """Return the worker pool with this short name, as the API shows it."""
        return copied(self._pools.pools[self.pool_name(name)].message)

    def pool_instances(self, name: str) -> int:
        """Return how many processes of the worker pool with this short name run."""
        return self._pools.pools[self.pool_name(name)].running

    def pool_output(self, name: str) -> str:
        """Return what the processes of the worker pool with this short name have printed so far."""
        return self._pools.pools[self.pool_name(name)].log.read_text(errors="replace")

    async def wait_for(self, name: str, phase: Phase, *, within: float = 30.0) -> run.Execution:
        """
        Wait until an execution is in *phase*.

        :raises RuntimeError: the execution has ended in another phase.
        :raises TimeoutError: it did not reach the phase *within* seconds.
        """
        await self.wait_until(lambda: self.phase(name) is phase or self.phase(name).over, within=within)
        if self.phase(name) is not phase:
            msg = f"{name} was expected to be {phase.value} and is {self.phase(name).value}: {self.output(name)!r}"
            raise RuntimeError(msg)
        return self.execution(name)

    async def wait_until_over(self, name: str, *, within: float = 30.0) -> run.Execution:
        """Wait until an execution has ended. Raises TimeoutError after *within* seconds."""
        await self.wait_until(lambda: self.phase(name).over, within=within)
        return self.execution(name)

    async def wait_for_output(self, name: str, text: str, *, within: float = 30.0) -> None:
        """Wait until a process of an execution has printed *text*. Raises TimeoutError after *within* seconds."""
        await self.wait_until(lambda: text in self.output(name), within=within)

    async def wait_until(self, check: Callable[[], bool], *, within: float = 30.0) -> None:
        """Wait until *check* holds. It runs at each call, each step of an execution and each output."""
        try:
            await self._project.bell.wait_until(check, within=within)
        except TimeoutError as error:
            phases = {name.rpartition("/")[2]: self.phase(name).value for name in self.executions()}
            msg = f"The condition did not hold within {within:g} s. The executions are: {phases}."
            raise TimeoutError(msg) from error
