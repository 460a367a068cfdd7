"""What an application sets for its dashboard: where it is, who may use it, and what it shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias, cast

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from lq_core import ConfigurationError, QueuedTaskRecord

Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]
"""A request, of an application whose types of user and state are its own."""

Guard: TypeAlias = Callable[[Connection, BaseRouteHandler], Any]
"""A guard of Litestar: it raises an exception to refuse a request."""


class Role(StrEnum):
    """What a user may do."""

    READ = "read"
    """Look at everything except tracebacks, also at who has changed what; do not search in texts."""

    OPERATE = "operate"
    """Look at everything, and change records, queues and schedules."""


def _everyone_operates(_: Connection) -> Role:
    return Role.OPERATE


def _nobody_hides(record: QueuedTaskRecord) -> QueuedTaskRecord:
    return record


def name_of(connection: Connection) -> str:
    """
    Name the user of a request by the application's own ``user``, else by the address of the client.

    Of an object, this is its display name, user name, name or id, because everything else of it may be secret.
    """
    scope = cast("Mapping[str, object]", connection.scope)
    user = scope.get("user")
    if isinstance(user, (str, int)):
        return str(user)
    if user is not None:
        named = (getattr(user, name, None) for name in ("display_name", "username", "name", "id"))
        return next((str(one) for one in named if one), type(user).__name__)
    return connection.client.host if connection.client else "unknown"


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """
    The settings of the dashboard and the API.

    Raises ConfigurationError if a value cannot work; the message names it.
    """

    path: str = "/queues"
    """Where the dashboard is in the application. The API is in ``api`` below it."""

    guards: tuple[Guard, ...] = ()
    """Litestar guards, which refuse a request by an exception. Without guards it starts only in debug mode."""

    open_to_everyone: bool = False
    """Whether to start without guards outside of debug mode, because a proxy or a network guards it."""

    role: Callable[[Connection], Role] = _everyone_operates
    """What the user of a request may do; everyone operates by default."""

    actor: Callable[[Connection], str] = name_of
    """The name of the user of a request, for the list of changes, which every user can see."""

    redact: Callable[[QueuedTaskRecord], QueuedTaskRecord] = _nobody_hides
    """Returns what may be shown of a record, for example without secrets in its arguments."""

    title: str = "Queues"
    """The name of the application on every page."""

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or (len(self.path) > 1 and self.path.endswith("/")):
            raise ConfigurationError(f"path is {self.path!r}; it must start with a slash and not end with one.")
        if isinstance(self.guards, str) or not all(callable(guard) for guard in self.guards):
            raise ConfigurationError(f"guards is {self.guards!r}; it must be a list of Litestar guards.")

    def check(self, *, debug: bool) -> None:
        """Raise ConfigurationError if everyone could use the dashboard of an application in production."""
        if self.guards or self.open_to_everyone or debug:
            return
        raise ConfigurationError(
            "The dashboard has no guards, and the application is not in debug mode: everyone could read and change "
            "its queues. Give it a guard: WebConfig(guards=[requires_admin]), see "
            "https://docs.litestar.dev/latest/usage/security/guards.html, or WebConfig(open_to_everyone=True) if a "
            "proxy guards it."
        )
