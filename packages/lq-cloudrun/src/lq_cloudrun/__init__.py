"""Runs lq tasks as Cloud Run job executions, and emulates Cloud Run Jobs on your own machine."""

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
from lq_cloudrun.container.program import execute_cloudrun_task, main
from lq_cloudrun.executions.status import CloudRunExitCode
from lq_cloudrun.executions.target import UnknownProfileError

__all__ = [
    "ClientFactory",
    "CloudRunClients",
    "CloudRunExecutionBackend",
    "CloudRunExecutionConfig",
    "CloudRunExecutionStatus",
    "CloudRunExitCode",
    "ExecutionsClient",
    "JobsClient",
    "RunOperation",
    "TasksClient",
    "UnknownProfileError",
    "WorkerPoolsClient",
    "database_token",
    "execute_cloudrun_task",
    "main",
]
