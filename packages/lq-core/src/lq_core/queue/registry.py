"""Finds and makes queue backends."""

from collections.abc import Callable
from typing import Final

from lq_core.config.queue_config import QueueBackendConfig, QueueConfig
from lq_core.config.registry import BackendRegistry
from lq_core.queue.base import BaseQueueBackend

# Also registered as entry points, for whoever lists the backends that are installed.
_OWN: Final = {
    "memory": "lq_core.queue.memory:InMemoryQueueBackend",
    "sqlite": "lq_core.queue.sqlite:SQLiteQueueBackend",
}
REGISTRY = BackendRegistry("queue", BaseQueueBackend, own=_OWN)


def get_queue_backend(backend: QueueBackendConfig = "sqlite", config: QueueConfig | None = None) -> BaseQueueBackend:
    """
    Make the queue backend that *backend* names; a typed configuration becomes its ``settings``.

    Raises ValueError for an unknown short name, and TypeError when the class takes no typed configuration.
    """
    if isinstance(backend, str):
        return REGISTRY.load(backend)(config)
    found = REGISTRY.load(backend.queue_backend)
    return found(config, settings=backend)  # pyright: ignore[reportCallIssue] -- the class says what settings it takes


def get_queue_backend_class(backend_path: str) -> type[BaseQueueBackend]:
    """Find a queue backend class by short name or import path; ValueError when a short name is unknown."""
    return REGISTRY.load(backend_path)


def queue_backend(name: str) -> Callable[[type[BaseQueueBackend]], type[BaseQueueBackend]]:
    """Register a queue backend class under a short name, as a decorator."""
    return REGISTRY.register(name)
