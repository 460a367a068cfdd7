"""How an execution backend is found and made."""

import inspect
from collections.abc import Callable
from typing import cast

from lq_core.config import ExecutionBackendConfig, QueueConfig
from lq_core.execution.base import BaseExecutionBackend
from lq_core.registry import BackendRegistry

REGISTRY = BackendRegistry("execution", BaseExecutionBackend)


def get_execution_backend(
    backend: ExecutionBackendConfig = "immediate", config: QueueConfig | None = None
) -> BaseExecutionBackend:
    """
    Make the execution backend that *backend* names; a typed configuration is handed to it as ``execution_config``.

    Raises ValueError for an unknown short name, TypeError when a typed configuration selects a class that does not
    accept ``execution_config``.
    """
    if isinstance(backend, str):
        made = get_execution_backend_class(backend)(config)
        made.name = backend
        return made
    found = get_execution_backend_class(backend.execution_backend)
    if "execution_config" not in inspect.signature(found).parameters:
        raise TypeError(
            f"{type(backend).__name__} selects {found.__name__}, which does not accept execution_config: "
            f"name the backend as text, or let {found.__name__} take the configuration."
        )
    made = cast("Callable[..., BaseExecutionBackend]", found)(config, execution_config=backend)
    made.name = backend.execution_backend
    return made


def get_execution_backend_class(backend_path: str) -> type[BaseExecutionBackend]:
    """Find an execution backend class by short name or import path; ValueError when a short name is unknown."""
    return REGISTRY.load(backend_path)


def execution_backend(name: str) -> Callable[[type[BaseExecutionBackend]], type[BaseExecutionBackend]]:
    """Register an execution backend class under a short name, as a decorator."""
    return REGISTRY.register(name)
