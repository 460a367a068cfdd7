"""Execution backends: their two shapes, and how lq finds one by name."""

from lq_core.execution.base import (
    BaseExecutionBackend,
    ExecutionService,
    ExternalExecutionBackend,
    InProcessExecutionBackend,
)
from lq_core.execution.registry import execution_backend, get_execution_backend, get_execution_backend_class

__all__ = [
    "BaseExecutionBackend",
    "ExecutionService",
    "ExternalExecutionBackend",
    "InProcessExecutionBackend",
    "execution_backend",
    "get_execution_backend",
    "get_execution_backend_class",
]
