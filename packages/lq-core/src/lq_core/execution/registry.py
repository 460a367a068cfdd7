"""Finds and makes execution backends."""

import inspect
from collections.abc import Callable
from typing import TypeVar, cast

from lq_core.config.queue_config import ExecutionBackendConfig, QueueConfig
from lq_core.config.registry import BackendRegistry
from lq_core.execution.base import BaseExecutionBackend

Registered = TypeVar("Registered", bound=BaseExecutionBackend)

REGISTRY = BackendRegistry("execution", BaseExecutionBackend)


def get_execution_backend(
    backend: ExecutionBackendConfig = "immediate", config: QueueConfig | None = None
) -> BaseExecutionBackend:
    """
    Make the execution backend that *backend* names; it gets a typed configuration as ``execution_config``.

    Raises ValueError for an unknown short name, TypeError if a typed configuration selects a class that does not
    accept ``execution_config``.
    """
    if isinstance(backend, str):
        made = get_execution_backend_class(backend)(config)
        made.name = backend
        return made
    found = get_execution_backend_class(backend.execution_backend)
    try:
        inspect.signature(found).bind(config, execution_config=backend)
    except TypeError as error:
        raise TypeError(
            f"{type(backend).__name__} selects {found.__name__}, which does not accept execution_config: "
            f"name the backend as text, or let {found.__name__} take the configuration."
        ) from error
    made = cast("Callable[..., BaseExecutionBackend]", found)(config, execution_config=backend)
    made.name = backend.execution_backend
    return made


def get_execution_backend_class(backend_path: str) -> type[BaseExecutionBackend]:
    """Find an execution backend class by short name or import path. Raises ValueError for an unknown short name."""
    return REGISTRY.load(backend_path)


def execution_backend(name: str) -> Callable[[type[Registered]], type[Registered]]:
    """Register an execution backend class under a short name, as a decorator."""
    return cast("Callable[[type[Registered]], type[Registered]]", REGISTRY.register(name))
