"""
Google's own asynchronous clients, connected to an emulator over one insecure channel.

The clients leave much without types, so that what lq and its tests use of them is written down here.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, cast

# The first module of the emulator to be imported: it says what to install for all of them.
try:
    import grpc.aio
    from google.cloud.run_v2 import ExecutionsAsyncClient, JobsAsyncClient, TasksAsyncClient
    from google.cloud.run_v2 import types as run
    from google.cloud.run_v2.services.executions.transports import ExecutionsGrpcAsyncIOTransport
    from google.cloud.run_v2.services.jobs.transports import JobsGrpcAsyncIOTransport
    from google.cloud.run_v2.services.tasks.transports import TasksGrpcAsyncIOTransport
    from google.longrunning import operations_pb2
except ImportError as error:
    raise ImportError(
        f"The emulator needs Google's client ({error}). Install it with: pip install 'lq-cloudrun[emulator]'"
    ) from error


class ExecutionOperation(Protocol):
    """What starting or cancelling an execution answers with."""

    @property
    def metadata(self) -> run.Execution:
        """The execution as it was when the call was answered."""
        ...

    @property
    def operation(self) -> operations_pb2.Operation:
        """The operation itself, with its name."""
        ...

    async def result(self, *, timeout: float) -> run.Execution:
        """Poll until the execution is over; nothing but a test should."""
        ...


class Jobs(Protocol):
    """What is used of ``JobsAsyncClient``."""

    async def run_job(
        self, request: run.RunJobRequest | None = None, *, name: str | None = None, timeout: float
    ) -> ExecutionOperation:
        """Start an execution."""
        ...

    async def get_job(self, *, name: str, timeout: float) -> run.Job:
        """Ask for a job."""
        ...

    async def get_operation(
        self, request: operations_pb2.GetOperationRequest, *, timeout: float
    ) -> operations_pb2.Operation:
        """Ask how far an operation is."""
        ...


class ExecutionPages(Protocol):
    """A list of executions, read page by page as it is walked through."""

    next_page_token: str
    executions: list[run.Execution]

    def __aiter__(self) -> AsyncIterator[run.Execution]: ...


class Executions(Protocol):
    """What is used of ``ExecutionsAsyncClient``."""

    async def get_execution(self, *, name: str, timeout: float) -> run.Execution:
        """Ask for an execution."""
        ...

    async def list_executions(
        self, request: run.ListExecutionsRequest | None = None, *, parent: str | None = None, timeout: float
    ) -> ExecutionPages:
        """Ask for the executions of a job."""
        ...

    async def cancel_execution(self, *, name: str, timeout: float) -> ExecutionOperation:
        """Ask an execution to end."""
        ...


class Tasks(Protocol):
    """What is used of ``TasksAsyncClient``."""

    async def get_task(self, *, name: str, timeout: float) -> run.Task:
        """Ask for a task of an execution."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Clients:
    """The clients of the services that the emulator speaks."""

    jobs: Jobs
    executions: Executions
    tasks: Tasks


@asynccontextmanager
async def connected(address: str) -> AsyncGenerator[Clients]:
    """Connect to the emulator at *address*; no credentials are looked for."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield Clients(
            jobs=cast("Jobs", JobsAsyncClient(transport=JobsGrpcAsyncIOTransport(channel=channel))),
            executions=cast(
                "Executions", ExecutionsAsyncClient(transport=ExecutionsGrpcAsyncIOTransport(channel=channel))
            ),
            tasks=cast("Tasks", TasksAsyncClient(transport=TasksGrpcAsyncIOTransport(channel=channel))),
        )
