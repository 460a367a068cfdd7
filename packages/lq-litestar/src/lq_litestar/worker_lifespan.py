"""The order of shutdown: the in-app worker stops before any other plugin closes, wherever they are in the list."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.plugins import InitPlugin


class WorkerLifespan(InitPlugin):
    """
    A plugin that puts a context manager behind those of all other plugins, so that it closes first.

    Litestar enters the managers of plugins in the order of the list and closes them in reverse, and plugins may add
    further plugins to its end, as Advanced Alchemy does. This plugin moves to the end until only others of its kind
    are behind it.
    """

    def __init__(self, lifespan: Callable[[Litestar], AbstractAsyncContextManager[None]]) -> None:
        self._lifespan = lifespan

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the context manager, or move on."""
        later = app_config.plugins[app_config.plugins.index(self) + 1 :]
        if all(isinstance(each, WorkerLifespan) for each in later):
            app_config.lifespan.append(self._lifespan)  # pyright: ignore[reportUnknownMemberType] -- Litestar leaves the context manager open
        else:
            app_config.plugins.append(WorkerLifespan(self._lifespan))
        return app_config
