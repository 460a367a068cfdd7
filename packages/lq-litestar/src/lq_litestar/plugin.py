"""The plugin: it opens the queue with the application, injects it, and works beside it."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final
from warnings import warn

from click import Group
from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.exceptions import LitestarWarning
from litestar.plugins import CLIPlugin, InitPlugin

from lq_core import ConfigurationError, QueueConfig, QueuedTaskRecord, QueueError, QueueService, TaskResult, Worker
from lq_core.config import checked
from lq_core.event_loop import current_loop
from lq_litestar.responses import to_response

CLOSED_TOO_EARLY: Final = frozenset({"ChannelsPlugin", "SQLAlchemyInitPlugin", "SQLAlchemyPlugin", "SQLSpecPlugin"})
"""Plugins that tasks may lean on. Litestar closes plugins from the last to the first."""


class QueuePlugin(InitPlugin, CLIPlugin):
    """
    Gives handlers a :class:`lq_core.QueueService`, runs a worker inside the application, and adds ``litestar queues``.

    The service is open as long as the application: one for each lifespan, in the event loop of that lifespan. Each
    server process has its own worker; they share the work of one database. Put it last in ``plugins=[...]``, so that
    the tasks that are running when the application stops still have everything that they use.
    """

    __slots__ = ("_open", "config", "dependency_key", "worker")

    def __init__(
        self,
        config: QueueConfig | None = None,
        *,
        worker: bool = True,
        dependency_key: str = "queue_service",
    ) -> None:
        """
        Take what the application says about its queue.

        With *worker* off, tasks are left to ``litestar queues worker`` or ``lq worker``. *dependency_key* is the name
        of the handlers' parameter.
        """
        self.config = checked(config)
        self.worker = worker
        self.dependency_key = dependency_key
        self._open: dict[asyncio.AbstractEventLoop, list[QueueService]] = {}

    @property
    def service(self) -> QueueService:
        """
        The open service of this event loop, for code that is no handler.

        Raises ConfigurationError while the application is not running.
        """
        loop = current_loop()
        services = self._open.get(loop) if loop else None
        if not services:
            raise ConfigurationError(
                "The queue is open only while the application runs. In a test: `with TestClient(app) as client`."
            )
        return services[-1]

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the dependency, the lifespan and the answers to errors of lq."""
        if self.dependency_key in app_config.dependencies:
            raise ConfigurationError(
                f"The application has a dependency {self.dependency_key!r} already. "
                "Choose another name: QueuePlugin(dependency_key=...)."
            )
        app_config.dependencies[self.dependency_key] = Provide(self._provide, sync_to_thread=False)
        app_config.signature_namespace.update(
            {each.__name__: each for each in (QueueService, QueuedTaskRecord, TaskResult)}
        )
        app_config.exception_handlers.setdefault(QueueError, to_response)  # pyright: ignore[reportUnknownMemberType] -- Litestar leaves Request open
        app_config.lifespan.append(self._lifespan)  # pyright: ignore[reportUnknownMemberType] -- as above, the context manager
        self._warn_of_plugins_after_this(app_config)
        return app_config

    def on_cli_init(self, cli: Group) -> None:
        """Add the group ``queues``, made of the commands of ``lq``."""
        from lq_litestar.commands import queues_group  # noqa: PLC0415 -- only the command line needs them

        cli.add_command(queues_group(lambda: self.config))

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(QueueService(self.config))
            # Around the worker: its tasks may use the service from the first to the last.
            stack.enter_context(self._offered(service))
            if self.worker:
                await stack.enter_async_context(Worker(service))
            yield

    @contextmanager
    def _offered(self, service: QueueService) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        services = self._open.setdefault(loop, [])
        services.append(service)
        try:
            yield
        finally:
            services.remove(service)
            if not services:
                del self._open[loop]

    def _provide(self) -> QueueService:
        return self.service

    def _warn_of_plugins_after_this(self, app_config: AppConfig) -> None:
        if not self.worker or self not in app_config.plugins:
            return
        for later in app_config.plugins[app_config.plugins.index(self) + 1 :]:
            if any(kind.__name__ in CLOSED_TOO_EARLY for kind in type(later).__mro__):
                warn(
                    f"{type(later).__name__} stands after QueuePlugin and is closed before the worker has drained: "
                    "tasks that are still running would miss it. Put QueuePlugin last.",
                    LitestarWarning,
                    stacklevel=2,
                )
