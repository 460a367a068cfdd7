"""Runs lq tasks as Cloud Run job executions, and emulates Cloud Run Jobs on your own machine."""

from typing import TYPE_CHECKING

from lq_cloudrun.backend import CloudRunExecutionBackend, CloudRunExecutionStatus
from lq_cloudrun.clients import (
    ClientFactory,
    CloudRunClients,
    ExecutionsClient,
    JobsClient,
    RunOperation,
    TasksClient,
    WorkerPoolsClient,
)
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.container.database_token import database_token
from lq_cloudrun.executions.status import CloudRunExitCode
from lq_cloudrun.executions.target import UnknownProfileError
from lq_cloudrun.pools.scaler import PoolScaler, PoolScaling, PoolStep

if TYPE_CHECKING:
    from lq_cloudrun.entrypoint import execute_cloudrun_task, main

__all__ = [
    "ClientFactory",
    "CloudRunClients",
    "CloudRunExecutionBackend",
    "CloudRunExecutionConfig",
    "CloudRunExecutionStatus",
    "CloudRunExitCode",
    "ExecutionsClient",
    "JobsClient",
    "PoolScaler",
    "PoolScaling",
    "PoolStep",
    "RunOperation",
    "TasksClient",
    "UnknownProfileError",
    "WorkerPoolsClient",
    "database_token",
    "execute_cloudrun_task",
    "main",
]


def __getattr__(name: str) -> object:
    # `python -m lq_cloudrun.entrypoint` warns if the package has imported the program before it runs.
    if name in {"execute_cloudrun_task", "main"}:
        from lq_cloudrun import entrypoint  # noqa: PLC0415 -- see above

        return getattr(entrypoint, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
