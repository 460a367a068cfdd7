"""The execution backends of one service: which names are good, which run where, and the open instances."""

import asyncio
from collections.abc import Mapping

from lq_core.config import ExecutionBackendConfig, QueueConfig
from lq_core.errors import QueueError, UnknownBackendError
from lq_core.event_log import event_log
from lq_core.execution import BaseExecutionBackend, ExecutionService, get_execution_backend
from lq_core.execution.registry import REGISTRY
from lq_core.record import QueuedTaskRecord

log = event_log()


class Executions:
    """The execution backends that the configuration and the installed packages offer."""

    def __init__(self, config: QueueConfig) -> None:
        self._config = config
        # A typed configuration says more than the mere name of the same backend.
        offered = sorted(
            (config.execution_backend, *config.execution_backends), key=lambda one: not isinstance(one, str)
        )
        self._configured: dict[str, ExecutionBackendConfig] = {_name_of(backend): backend for backend in offered}
        self._default = _name_of(config.execution_backend)
        self._made: dict[str, BaseExecutionBackend] = {}
        self._opened: dict[str, BaseExecutionBackend] = {}
        self._opening = asyncio.Lock()
        self._inline: dict[str, bool] = {}

    def check(self) -> None:
        """Refuse a configuration with a short name that nobody knows. Raises UnknownBackendError."""
        for name in self._configured:
            REGISTRY.check(name)

    def checked(self, name: str | None) -> str:
        """Return the name that a record carries. Raises UnknownBackendError when no worker could ever run it."""
        if name is None or name in self._configured:
            return name or self._default
        if name not in self._inline:
            REGISTRY.check(name)
            if {".", ":"} & set(name):
                # No worker would look for a path that no configuration names.
                raise UnknownBackendError("execution", name, {*self._configured, *REGISTRY.names()})
        return name

    def runs_inline(self, name: str) -> bool:
        """Whether a record of this backend runs during its enqueue; False when the backend is not installed here."""
        if name not in self._inline:
            try:
                self._inline[name] = self._get(name).inline
            except UnknownBackendError:
                self._inline[name] = False
        return self._inline[name]

    def is_external(self, name: str) -> bool:
        """Whether a record of this backend runs in another process; False when the backend is not usable here."""
        try:
            return self._get(name).external
        except QueueError:
            return False

    async def opened(self, name: str, service: ExecutionService) -> BaseExecutionBackend:
        """Return the open backend of this name. Raises UnknownBackendError, or what it refuses to open with."""
        if name not in self._opened:
            async with self._opening:
                if name not in self._opened:
                    backend = self._get(name)
                    await backend.open(service)
                    self._opened[name] = backend
        return self._opened[name]

    async def usable(self, service: ExecutionService) -> Mapping[str, BaseExecutionBackend]:
        """
        Open every backend that this process can run records on: the configured, then the installed ones.

        Raises what a configured backend refuses to open with; one that is only installed is left out.
        """
        for name in self._configured:
            await self.opened(name, service)
        for name in sorted(REGISTRY.names() - self._configured.keys()):
            try:
                await self.opened(name, service)
            except (QueueError, ImportError, TypeError) as error:
                log.info("execution_backend.left_out", extra={"backend": name, "error": str(error)})
        return dict(self._opened)

    async def cancel(self, record: QueuedTaskRecord, service: ExecutionService) -> None:
        """Have the execution backend of a record stop its execution."""
        try:
            backend = await self.opened(record.execution_backend, service)
        except (QueueError, ImportError, TypeError) as error:
            # Not set up in this process. The owner sees the request; what has not begun finds its epoch over.
            log.info("record.cancel_left_to_owner", extra={"record_id": str(record.id), "error": str(error)})
        else:
            await backend.cancel(service, record)

    async def close(self) -> None:
        """Close what was opened."""
        for backend in self._opened.values():
            await backend.close()
        self._opened.clear()
        self._opening = asyncio.Lock()  # A lock stays with its event loop; the service may be opened again in another.

    def _get(self, name: str) -> BaseExecutionBackend:
        if name not in self._made:
            self._made[name] = get_execution_backend(self._configured.get(name, name), self._config)
        return self._made[name]


def _name_of(backend: ExecutionBackendConfig) -> str:
    return backend if isinstance(backend, str) else backend.execution_backend
