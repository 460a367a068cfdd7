"""
Google's own asynchronous clients, connected to an emulator over one insecure channel.

The clients lack many types, so that this module declares the part that lq and its tests use.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, cast

# Python imports this module of the emulator first, so that it says what to install for all of them.
try:
    import grpc.aio
    from google.cloud.run_v2 import ExecutionsAsyncClient, JobsAsyncClient, TasksAsyncClient, WorkerPoolsAsyncClient
    from google.cloud.run_v2 import types as run
    from google.cloud.run_v2.services.executions.transports import ExecutionsGrpcAsyncIOTransport
    from google.cloud.run_v2.services.jobs.transports import JobsGrpcAsyncIOTransport
    from google.cloud.run_v2.services.tasks.transports import TasksGrpcAsyncIOTransport
    from google.cloud.run_v2.services.worker_pools.transports import WorkerPoolsGrpcAsyncIOTransport
    from google.longrunning import operations_pb2
except ImportError as error:
    raise ImportError(
        f"The emulator needs Google's client ({error}). Install it with: pip install 'lq-cloudrun[emulator]'"
    ) from error


class ExecutionOperation(Protocol):
    """The answer to a call that starts or cancels an execution."""

    @property
    def metadata(self) -> run.Execution:
        """The execution at the time of the answer."""
        ...

    @property
    def operation(self) -> operations_pb2.Operation:
        """The operation itself, with its name."""
        ...

    async def result(self, *, timeout: float) -> run.Execution:
        """Poll until the execution has ended. Only tests should do so."""
        ...


class Jobs(Protocol):
    """The part of ``JobsAsyncClient`` that lq and its tests use."""

    async def run_job(
        self, request: run.RunJobRequest | None = None, *, name: str | None = None, timeout: float
    ) -> ExecutionOperation:
        """Start an execution."""
        ...

    async def get_job(self, *, name: str, timeout: float) -> run.Job:
        """Read a job."""
        ...

    async def get_operation(
        self, request: operations_pb2.GetOperationRequest, *, timeout: float
    ) -> operations_pb2.Operation:
        """Read the state of an operation."""
        ...


class ExecutionPages(Protocol):
    """A list of executions, fetched page by page during the iteration."""

    next_page_token: str
    executions: list[run.Execution]

    def __aiter__(self) -> AsyncIterator[run.Execution]: ...


class Executions(Protocol):
    """The part of ``ExecutionsAsyncClient`` that lq and its tests use."""

    async def get_execution(self, *, name: str, timeout: float) -> run.Execution:
        """Read an execution."""
        ...

    async def list_executions(
        self, request: run.ListExecutionsRequest | None = None, *, parent: str | None = None, timeout: float
    ) -> ExecutionPages:
        """List the executions of a job."""
        ...

    async def cancel_execution(self, *, name: str, timeout: float) -> ExecutionOperation:
        """Cancel an execution."""
        ...


class Tasks(Protocol):
    """The part of ``TasksAsyncClient`` that lq and its tests use."""

    async def get_task(self, *, name: str, timeout: float) -> run.Task:
        """Read a task of an execution."""
        ...


class WorkerPoolOperation(Protocol):
    """The answer to a call that changes a worker pool."""

    async def result(self, *, timeout: float) -> run.WorkerPool:
        """Return the changed worker pool."""
        ...


class WorkerPoolPages(Protocol):
    """A list of worker pools, fetched page by page during the iteration."""

    def __aiter__(self) -> AsyncIterator[run.WorkerPool]: ...


class WorkerPools(Protocol):
    """The part of ``WorkerPoolsAsyncClient`` that lq and its tests use."""

    async def create_worker_pool(self, request: run.CreateWorkerPoolRequest, *, timeout: float) -> WorkerPoolOperation:
        """Create a worker pool."""
        ...

    async def get_worker_pool(self, *, name: str, timeout: float) -> run.WorkerPool:
        """Read a worker pool."""
        ...

    async def list_worker_pools(self, request: run.ListWorkerPoolsRequest, *, timeout: float) -> WorkerPoolPages:
        """List the worker pools of a location."""
        ...

    async def update_worker_pool(self, request: run.UpdateWorkerPoolRequest, *, timeout: float) -> WorkerPoolOperation:
        """Change a worker pool."""
        ...

    async def delete_worker_pool(self, *, name: str, timeout: float) -> WorkerPoolOperation:
        """Delete a worker pool."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Clients:
    """The clients of the services that the emulator serves."""

    jobs: Jobs
    executions: Executions
    tasks: Tasks
    pools: WorkerPools


@asynccontextmanager
async def connected(address: str) -> AsyncGenerator[Clients]:
    """Connect to the emulator at *address*, without credentials."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield Clients(
            jobs=cast("Jobs", JobsAsyncClient(transport=JobsGrpcAsyncIOTransport(channel=channel))),
            executions=cast(
                "Executions", ExecutionsAsyncClient(transport=ExecutionsGrpcAsyncIOTransport(channel=channel))
            ),
            tasks=cast("Tasks", TasksAsyncClient(transport=TasksGrpcAsyncIOTransport(channel=channel))),
            pools=cast(
                "WorkerPools", WorkerPoolsAsyncClient(transport=WorkerPoolsGrpcAsyncIOTransport(channel=channel))
            ),
        )
