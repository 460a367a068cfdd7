"""Runs lq records where their worker is: inline during their enqueue, in its event loop, or in its child processes."""

from lq_local.child_process import ProcessDiedError
from lq_local.immediate import ImmediateExecutionBackend
from lq_local.local import LocalExecutionBackend
from lq_local.process import ProcessExecutionBackend, ProcessExecutionConfig

__all__ = [
    "ImmediateExecutionBackend",
    "LocalExecutionBackend",
    "ProcessDiedError",
    "ProcessExecutionBackend",
    "ProcessExecutionConfig",
]
