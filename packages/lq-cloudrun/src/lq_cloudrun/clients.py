"""
The part of Google's clients that lq uses, as protocols, so that you can hand over clients of your own.

Give a function that makes them to ``CloudRunExecutionConfig(clients=...)``.
"""

from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


class RunOperation(Protocol):
    """The answer to a call that starts an execution."""

    @property
    def metadata(self) -> Any:
        """The execution at the time of the answer."""
        ...


class JobsClient(Protocol):
    """The part of ``JobsAsyncClient`` that dispatching uses."""

    async def run_job(self, request: dict[str, Any], *, timeout: float) -> RunOperation:
        """Start an execution."""
        ...


class ExecutionsClient(Protocol):
    """The part of ``ExecutionsAsyncClient`` that dispatching and reconciling use."""

    async def get_execution(self, *, name: str, timeout: float) -> Any:
        """Read an execution."""
        ...

    async def list_executions(self, request: dict[str, Any], *, timeout: float) -> AsyncIterable[Any]:
        """List the executions of a job, in pages."""
        ...

    async def cancel_execution(self, *, name: str, timeout: float) -> object:
        """Cancel an execution."""
        ...


class TasksClient(Protocol):
    """The part of ``TasksAsyncClient`` that explains how an execution ended."""

    async def get_task(self, *, name: str, timeout: float) -> Any:
        """Read a task of an execution, with the exit code or signal of its last attempt."""
        ...


class WorkerPoolsClient(Protocol):
    """The part of ``WorkerPoolsAsyncClient`` that scaling uses."""

    async def get_worker_pool(self, *, name: str, timeout: float) -> Any:
        """Read a worker pool."""
        ...

    async def update_worker_pool(self, request: dict[str, Any], *, timeout: float) -> object:
        """Change the fields of a worker pool that the mask names."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudRunClients:
    """Clients for one event loop. Without *tasks*, the reason of an ending comes from the execution alone."""

    jobs: JobsClient
    executions: ExecutionsClient
    tasks: TasksClient | None = None
    pools: WorkerPoolsClient | None = None
    """Needed only by ``lq-cloudrun scale``."""

    close: Callable[[], Awaitable[None]] | None = None
    """Called when the execution backend closes; None if the clients stay open."""


@runtime_checkable
class ClientFactory(Protocol):
    """Makes clients. It is called in the event loop that uses them, because a channel of gRPC belongs to one loop."""

    def __call__(self) -> CloudRunClients | Awaitable[CloudRunClients]:
        """Make the clients."""
        ...
