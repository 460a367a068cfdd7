"""The dashboard of lq-web in an application, if the extra ``web`` is installed."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from litestar.config.app import AppConfig

from lq_core import ConfigurationError, QueueService


@runtime_checkable
class WebSettings(Protocol):
    """The part of :class:`lq_web.WebConfig` that this package uses, so that it works without lq-web."""

    @property
    def path(self) -> str:
        """Where the dashboard is in the application."""
        ...

    def check(self, *, debug: bool) -> None:
        """Raise ConfigurationError if everyone could use the dashboard of an application in production."""
        ...


def add_dashboard(app_config: AppConfig, service: Callable[[], QueueService], settings: WebSettings) -> None:
    """Add the dashboard to an application. Raises ConfigurationError for settings that cannot work."""
    from lq_web import WebConfig, create_dashboard  # noqa: PLC0415 -- only the extra `web` installs it

    if not isinstance(settings, WebConfig):
        raise ConfigurationError(f"web is {settings!r:.200}; give a lq_web.WebConfig: QueuePlugin(web=WebConfig(...)).")
    settings.check(debug=app_config.debug)
    made = create_dashboard(service, settings)
    app_config.route_handlers.append(made.router)
    app_config.lifespan.append(made.lifespan)  # pyright: ignore[reportUnknownMemberType] -- Litestar leaves the type open
