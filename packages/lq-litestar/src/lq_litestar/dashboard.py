"""The dashboard of lq-web in an application, if the extra ``web`` is installed."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from litestar import Router

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


def dashboard(service: Callable[[], QueueService], settings: WebSettings, *, debug: bool) -> Router:
    """Make the router of the dashboard. Raises ConfigurationError for settings that cannot work."""
    from lq_web import WebConfig, create_router  # noqa: PLC0415 -- only the extra `web` installs it

    if not isinstance(settings, WebConfig):
        raise ConfigurationError(f"web is {settings!r:.200}; give a lq_web.WebConfig: QueuePlugin(web=WebConfig(...)).")
    settings.check(debug=debug)
    return create_router(service, settings)
