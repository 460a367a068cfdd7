"""
The emulator as a test or a program holds it: opened, asked, waited for, and closed.

What it knows is kept in memory; closing it ends every process it started.
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
from lq_cloudrun.emulator.messages import execution_message
from lq_cloudrun.emulator.methods import Methods
from lq_cloudrun.emulator.project import EmulatedProject
from lq_cloudrun.emulator.server import Server


class Emulator:
    """
    Emulates Cloud Run Jobs for one project and region, in the event loop that opens it.

    Give :attr:`address` to Google's clients as an insecure channel. For tests without an event loop, or with
    one that blocks, there is :class:`EmulatorThread`.
    """

    def __init__(
        self,
        jobs: Sequence[EmulatedJob],
        *,
        project: str = "emulated",
        region: str = "us-central1",
        port: int = 0,
        log_directory: Path | None = None,
    ) -> None:
        """Prepare to emulate *jobs*; without *log_directory*, what they print is deleted with the emulator."""
        self._project = EmulatedProject(jobs, project=project, region=region)
        self._port = port
        self._log_directory = log_directory
        self._open = AsyncExitStack()
        self._address: str | None = None

    @override
    def __repr__(self) -> str:
        return f"<Emulator address={self._address} executions={len(self._project.executions)}>"

    async def __aenter__(self) -> Self:
        """Start to serve."""
        async with AsyncExitStack() as stack:
            logs = self._log_directory or Path(stack.enter_context(TemporaryDirectory(prefix="lq-cloudrun-")))
            logs.mkdir(parents=True, exist_ok=True)
            stack.push_async_callback(self._project.stop)
            server = Server(self._project, Methods(self._project, logs=logs.resolve()))
            stack.push_async_callback(server.stop)
            self._address = await server.start(port=self._port)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop serving, and end every process that was started."""
        self._address = None
        await self._open.aclose()

    @property
    def address(self) -> str:
        """Host and port, such as ``"127.0.0.1:41234"``."""
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
        """What shall go wrong."""
        return self._project.faults

    def job_name(self, job: str) -> str:
        """The full name of *job*."""
        return self._project.job_name(job)

    def executions(self, job: str | None = None) -> list[str]:
        """The full names of the executions of *job*, or of all, the oldest first, also of those that vanished."""
        return [name for name, execution in self._project.executions.items() if job in {None, execution.job.name}]

    def calls(self, method: MethodName) -> int:
        """How often *method* was called, whatever it answered."""
        return self._project.calls[method]

    def execution(self, name: str) -> run.Execution:
        """The execution of this full name, as the API shows it."""
        return execution_message(self._project.executions[name])

    def phase(self, name: str) -> Phase:
        """Where the execution of this full name is."""
        return self._project.executions[name].phase

    def output(self, name: str) -> str:
        """What the processes of the execution of this full name have printed so far."""
        return self._project.executions[name].log.read_text(errors="replace")

    async def wait_for(self, name: str, phase: Phase, *, within: float = 30.0) -> run.Execution:
        """
        Wait until an execution is in *phase*.

        :raises RuntimeError: it is over, and ended otherwise.
        :raises TimeoutError: it was not there *within* seconds.
        """
        await self.wait_until(lambda: self.phase(name) is phase or self.phase(name).over, within=within)
        if self.phase(name) is not phase:
            msg = f"{name} was expected to be {phase.value} and is {self.phase(name).value}: {self.output(name)!r}"
            raise RuntimeError(msg)
        return self.execution(name)

    async def wait_until_over(self, name: str, *, within: float = 30.0) -> run.Execution:
        """Wait until an execution has ended, however it did; TimeoutError if not *within* seconds."""
        await self.wait_until(lambda: self.phase(name).over, within=within)
        return self.execution(name)

    async def wait_for_output(self, name: str, text: str, *, within: float = 30.0) -> None:
        """Wait until a process of an execution has printed *text*; TimeoutError if not *within* seconds."""
        await self.wait_until(lambda: text in self.output(name), within=within)

    async def wait_until(self, check: Callable[[], bool], *, within: float = 30.0) -> None:
        """Wait until *check* holds; it is tried at each call, each step of an execution and each output."""
        try:
            await self._project.bell.wait_until(check, within=within)
        except TimeoutError as error:
            phases = {name.rpartition("/")[2]: self.phase(name).value for name in self.executions()}
            msg = f"What was waited for did not happen within {within:g} s. The executions are: {phases}."
            raise TimeoutError(msg) from error
