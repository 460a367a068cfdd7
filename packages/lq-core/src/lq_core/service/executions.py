"""The execution backends of one service: their names, where they run records, and the open instances."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from lq_core.config.queue_config import ExecutionBackendConfig, QueueConfig
from lq_core.execution import BaseExecutionBackend, ExecutionService, get_execution_backend
from lq_core.execution.registry import REGISTRY
from lq_core.foundation.errors import QueueError, UnknownBackendError
from lq_core.foundation.event_log import event_log
from lq_core.records.record import QueuedTaskRecord

log = event_log()


class Executions:
    """The execution backends of the configuration and of the installed packages."""

    def __init__(self, config: QueueConfig) -> None:
        self._config = config
        # A typed configuration overrides the mere name of the same backend.
        offered = sorted(
            (config.execution_backend, *config.execution_backends), key=lambda one: not isinstance(one, str)
        )
        self._configured: dict[str, ExecutionBackendConfig] = {_name_of(backend): backend for backend in offered}
        self._default = _name_of(config.execution_backend)
        self._made: dict[str, BaseExecutionBackend] = {}
        self._opened: dict[str, BaseExecutionBackend] = {}
        self._left_out: dict[str, str] = {}
        """Why installed backends are not used, as logged."""
        self._opening = asyncio.Lock()
        self._inline: dict[str, bool] = {}

    def check(self) -> None:
        """Raise UnknownBackendError for an unknown short name in the configuration."""
        for name in self._configured:
            REGISTRY.check(name)

    def checked(self, name: str | None) -> str:
        """Return the name for a record. Raises UnknownBackendError if no worker could ever run it."""
        if name is None or name in self._configured:
            return name or self._default
        if name not in self._inline:
            REGISTRY.check(name)
            if {".", ":"} & set(name):
                # No worker claims for a path that is not in its configuration.
                raise UnknownBackendError("execution", name, {*self._configured, *REGISTRY.names()})
        return name

    def runs_inline(self, name: str) -> bool:
        """Whether a record of this backend runs during its enqueue; False if the backend is not installed here."""
        if name not in self._inline:
            try:
                self._inline[name] = self._get(name).inline
            except UnknownBackendError:
                self._inline[name] = False
        return self._inline[name]

    def is_external(self, name: str) -> bool:
        """Whether a record of this backend runs in another process; False if the backend is not usable here."""
        try:
            return self._get(name).external
        except QueueError:
            return False

    async def opened(self, name: str, service: ExecutionService) -> BaseExecutionBackend:
        """Return the open backend of this name. Raises UnknownBackendError, and the errors of its ``open()``."""
        if name not in self._opened:
            async with self._opening:
                if name not in self._opened:
                    backend = self._get(name)
                    await backend.open(service)
                    self._opened[name] = backend
        return self._opened[name]

    async def usable(self, service: ExecutionService) -> Mapping[str, BaseExecutionBackend]:
        """Open the configured backends, then the installed ones; an installed one that cannot be opened is left out."""
        for name in self._configured:
            await self.opened(name, service)
        for name in sorted(REGISTRY.names() - self._configured.keys()):
            try:
                await self.opened(name, service)
            except (QueueError, ImportError, TypeError) as error:
                if self._left_out.get(name) != str(error):  # The command and its worker both ask.
                    self._left_out[name] = str(error)
                    log.info("execution_backend.left_out", extra={"backend": name, "error": str(error)})
        return dict(self._opened)

    async def cancel(self, record: QueuedTaskRecord, service: ExecutionService) -> None:
        """Ask the execution backend of a record to stop its execution."""
        try:
            backend = await self.opened(record.execution_backend, service)
        except (QueueError, ImportError, TypeError) as error:
            # This process cannot use the backend. The owner sees the request; a start finds its epoch over.
            log.info("record.cancel_left_to_owner", extra={"record_id": str(record.id), "error": str(error)})
        else:
            await backend.cancel(service, record)

    async def close(self) -> None:
        """Close the open backends."""
        async with AsyncExitStack() as closing:
            closing.callback(self._opened.clear)
            for backend in reversed(self._opened.values()):
                closing.push_async_callback(backend.close)
        self._opening = asyncio.Lock()  # A lock belongs to one event loop; the service can open again in another.

    def _get(self, name: str) -> BaseExecutionBackend:
        if name not in self._made:
            self._made[name] = get_execution_backend(self._configured.get(name, name), self._config)
        return self._made[name]


def _name_of(backend: ExecutionBackendConfig) -> str:
    return backend if isinstance(backend, str) else backend.execution_backend
