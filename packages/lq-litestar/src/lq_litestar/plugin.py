"""The plugin: opens the queue with the application, injects it, and runs a worker in the application."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from click import Context, Group, Option, Parameter
from litestar import Litestar, Router
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.plugins import CLIPlugin, InitPlugin

from lq_core import (
    ConfigurationError,
    Provider,
    QueueConfig,
    QueuedTaskRecord,
    QueueError,
    QueueService,
    RecordView,
    TaskResult,
    Worker,
    config_from_environment,
    service_of,
    worker_of,
)
from lq_core.config.environment import in_app_worker
from lq_core.config.queue_config import checked
from lq_core.observability.probes import Exposition
from lq_core.tasks.context import current_loop
from lq_core.tasks.provider import by_type
from lq_litestar.dashboard import WebSettings, add_dashboard
from lq_litestar.probes import Guard, probe_router
from lq_litestar.responses import to_response
from lq_litestar.task_dependencies import providers_of
from lq_litestar.worker_lifespan import WorkerLifespan


@dataclass(eq=False)
class Opened:
    """What is open in one lifespan of the application."""

    service: QueueService
    worker_stack: AsyncExitStack
    worker: Worker | None = None


class QueuePlugin(InitPlugin, CLIPlugin):
    """
    Gives handlers a :class:`lq_core.QueueService`, runs a worker inside the application, and adds ``litestar queues``.

    Each lifespan of the application opens one service, in its event loop. Each server process has its own worker, and
    all workers share the records of one database. When the application stops, the worker stops before the other
    plugins close, so that running tasks can still use them.
    """

    __slots__ = ("_open", "config", "dependency_key", "web", "worker")

    def __init__(
        self,
        config: QueueConfig | None = None,
        *,
        worker: bool | None = None,
        dependency_key: str = "queue_service",
        web: WebSettings | None = None,
    ) -> None:
        """
        Make the plugin for one queue.

        Without *config*, the environment configures it; see :func:`lq_core.config_from_environment`. With
        ``worker=False``, run tasks with ``litestar queues worker`` or ``lq worker``; None means that the variable
        ``LQ_IN_APP_WORKER`` says it, true by default. Handlers get the service as their parameter *dependency_key*.
        With *web*, a :class:`lq_web.WebConfig`, the application has the dashboard; the extra ``web`` installs it.
        """
        self.config = config_from_environment() if config is None else checked(config)
        self.worker = in_app_worker() if worker is None else worker
        self.dependency_key = dependency_key
        self.web = web
        self._open: dict[asyncio.AbstractEventLoop, list[Opened]] = {}

    @property
    def service(self) -> QueueService:
        """
        The open service of this event loop, for code outside handlers.

        Raises ConfigurationError if the application is not running.
        """
        return self._opened().service

    def probes(self, path: str = "/", *, guards: Sequence[Guard] = ()) -> Router:
        """
        Make the routes ``/healthz`` and ``/readyz`` below *path*, for the ``route_handlers`` of the application.

        ``/readyz`` answers 503 while the database cannot be used, or the in-app worker does not claim. If the
        middleware of the configuration has a ``PrometheusMetrics``, there is ``/metrics``, too. All have no login:
        give them *guards*, or a *path* that only your monitoring reaches.
        """
        metrics = next((layer for layer in self.config.middleware if hasattr(layer, "exposition")), None)
        return probe_router(
            lambda: (self.service, self._opened().worker),
            path=path,
            guards=guards,
            metrics=cast("Exposition | None", metrics),
        )

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the dependency, the lifespan and the handler for errors of lq."""
        if self.dependency_key in app_config.dependencies:
            raise ConfigurationError(
                f"The application already has a dependency {self.dependency_key!r}. "
                "Choose another name: QueuePlugin(dependency_key=...)."
            )
        app_config.dependencies[self.dependency_key] = Provide(self._provide, sync_to_thread=False)
        app_config.signature_namespace.update(
            {each.__name__: each for each in (QueueService, QueuedTaskRecord, RecordView, TaskResult)}
        )
        app_config.exception_handlers.setdefault(QueueError, to_response)  # pyright: ignore[reportUnknownMemberType] -- Litestar leaves Request open
        app_config.on_startup.append(self._start_worker)
        app_config.lifespan.append(self._lifespan)  # pyright: ignore[reportUnknownMemberType] -- as above, the context manager
        if self.web is not None:
            add_dashboard(app_config, self._provide, self.web)
        app_config.plugins.append(WorkerLifespan(self._worker_lifespan))
        return app_config

    def on_cli_init(self, cli: Group) -> None:
        """Add the group ``queues`` with the commands of ``lq``."""
        from lq_core.cli import queue_commands  # noqa: PLC0415 -- only the command line needs it

        group = Group("queues", help="Run and inspect the background tasks of this application.")
        group.commands = {str(command.name): command for command in queue_commands(lambda: self.config)}
        del group.commands["web"]  # The dashboard is in the application.
        group.commands["worker"].params.append(
            Option(
                ("--lifespan/--no-lifespan",),
                default=True,
                expose_value=False,
                callback=self._keep_lifespan,
                help="Enter the lifespan of the application, so that tasks can use its state and dependencies.",
            )
        )
        queues = group.commands.pop("queues")
        assert isinstance(queues, Group)
        group.commands.update(queues.commands)  # The commands of `lq queues` are directly in `litestar queues`.
        cli.add_command(group)

    @asynccontextmanager
    async def _lifespan(self, app: Litestar) -> AsyncGenerator[None, None]:
        async with service_of(self._with_dependencies(app)) as service, AsyncExitStack() as stack:
            # Offer the service before the worker starts and until it has stopped: its tasks may use the service.
            loop = asyncio.get_running_loop()
            stack.callback(self._close, loop, service)
            worker_stack = await stack.enter_async_context(AsyncExitStack())
            self._open.setdefault(loop, []).append(Opened(service, worker_stack))
            yield

    async def _start_worker(self) -> None:
        """Start the worker after the startup hooks."""
        if self.worker:
            opened = self._opened()
            opened.worker = worker_of(opened.service)
            await opened.worker_stack.enter_async_context(opened.worker)

    @asynccontextmanager
    async def _worker_lifespan(self, _: Litestar) -> AsyncGenerator[None, None]:
        """Stop the worker before the other plugins close."""
        async with self._opened().worker_stack:
            yield

    def _keep_lifespan(self, context: Context, _: Parameter, enters: bool) -> None:  # noqa: FBT001 -- click calls it so
        """Let the command ``worker`` run in the lifespan of the application, without its in-app worker."""
        from lq_core.cli.worker import AROUND  # noqa: PLC0415 -- only the command line needs it

        app = getattr(context.find_root().obj, "app", None)  # Litestar's environment of a command.
        if not enters or not isinstance(app, Litestar):
            return

        @asynccontextmanager
        async def around() -> AsyncGenerator[Sequence[Provider[Any]]]:
            self.worker = False
            async with app.lifespan():
                yield self._dependencies(app)

        context.meta[AROUND] = around

    def _with_dependencies(self, app: Litestar) -> QueueConfig:
        """Let the tasks of an in-app worker use the dependencies of the application; own providers come first."""
        if not self.worker:
            return self.config
        return replace(self.config, providers=(*self.config.providers, *self._dependencies(app)))

    def _dependencies(self, app: Litestar) -> Sequence[Provider[Any]]:
        own = by_type(self.config.providers)
        return [each for each in providers_of(app) if each.provides not in own and each.provides is not QueueService]

    def _close(self, loop: asyncio.AbstractEventLoop, service: QueueService) -> None:
        self._open[loop] = [each for each in self._open[loop] if each.service is not service]
        if not self._open[loop]:
            del self._open[loop]

    def _opened(self) -> Opened:
        loop = current_loop()
        opened = self._open.get(loop) if loop else None
        if not opened:
            raise ConfigurationError(
                "The queue is open only while the application runs. In a test: `with TestClient(app) as client`."
            )
        return opened[-1]

    def _provide(self) -> QueueService:
        return self.service
