"""Who may do what: roles, requests from other sites, response headers, and the log of actions."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final, cast
from urllib.parse import urlsplit

from litestar import Response
from litestar.exceptions import PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler

from lq_core import QueueService, StorageError
from lq_core.foundation.event_log import event_log
from lq_web.config import Connection, Guard, Role, WebConfig

log = event_log()

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""Headers of every response: no code and no style of others, no frames, nothing kept by a cache."""


def guards_of(config: WebConfig) -> list[Guard]:
    """Return the guards of every route: those of the application, then origin and role of each change."""

    def may_change(connection: Connection, _: BaseRouteHandler) -> None:
        if cast("Mapping[str, object]", connection.scope)["method"] in SAFE:
            return
        check_origin(connection)
        if config.role(connection) is not Role.OPERATE:
            raise PermissionDeniedException("Your role may look, but not change anything.")

    return [*config.guards, may_change]


def check_origin(connection: Connection) -> None:
    """
    Refuse a change that another site asked a browser for.

    Browsers say where a request comes from: in ``Sec-Fetch-Site``, and all send ``Origin`` with a POST.
    A program that is no browser sends neither, and cannot be tricked by a page.
    """
    headers = connection.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        is_own = site == "same-origin"
    else:
        is_own = origin is None or urlsplit(origin).netloc == headers.get("host")
    if not is_own:
        raise PermissionDeniedException("This change was requested by a page of another site.")


def add_headers(response: Response[object]) -> Response[object]:
    """Add the headers that keep a page to itself."""
    response.headers.update(HEADERS)
    return response


async def note_action(
    service: QueueService, config: WebConfig, connection: Connection, action: str, subject: str, **facts: object
) -> None:
    """Keep in the queue, and log, who has changed what."""
    actor = config.actor(connection)
    log.info("web.action", extra={"actor": actor, "action": action, "subject": subject, **facts})
    with suppress(StorageError):  # The change itself is stored.
        await service.note_action(action, subject, actor=actor)
