"""Runs lq tasks as Cloud Run job executions, and emulates Cloud Run Jobs on your own machine."""

from lq_cloudrun.backend import CloudRunExecutionBackend, CloudRunExecutionStatus
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.entrypoint import execute_cloudrun_task, main
from lq_cloudrun.exit_code import CloudRunExitCode
from lq_cloudrun.target import UnknownProfileError

__all__ = [
    "CloudRunExecutionBackend",
    "CloudRunExecutionConfig",
    "CloudRunExecutionStatus",
    "CloudRunExitCode",
    "UnknownProfileError",
    "execute_cloudrun_task",
    "main",
]
