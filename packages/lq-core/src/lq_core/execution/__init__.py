"""Where records run: the contract, and how a backend is found by name."""

from lq_core.execution.base import BaseExecutionBackend, ExecutionService
from lq_core.execution.registry import execution_backend, get_execution_backend, get_execution_backend_class

__all__ = [
    "BaseExecutionBackend",
    "ExecutionService",
    "execution_backend",
    "get_execution_backend",
    "get_execution_backend_class",
]
