"""
Answers that need not be made again: a request names the version that it has seen, and gets 304 if nothing has changed.

Asking a store for its version is much cheaper than making a page.
"""

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any, Final

from litestar import Request, Response
from litestar.datastructures import MutableScopeHeaders
from litestar.middleware import ASGIMiddleware
from litestar.status_codes import HTTP_200_OK, HTTP_304_NOT_MODIFIED
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from lq_core import QueueService
from lq_core.queue import Versions
from lq_web.config import WebConfig
from lq_web.safety import add_headers

LONGEST: Final = 15
"""After this many seconds an answer is made again although nothing was stored: ages and findings change."""

KEY: Final = "lq_etag"


class ETags(ASGIMiddleware):
    """Adds to an answer the tag that :func:`unchanged` has made for its request."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Send the answer with its tag."""

        async def tagged(message: Message) -> None:
            tag = scope["state"].get(KEY)
            if tag and message["type"] == "http.response.start" and message["status"] == HTTP_200_OK:
                MutableScopeHeaders.from_message(message)["etag"] = tag
            await send(message)

        await next_app(scope, receive, tagged)


async def version_of(service: QueueService) -> str | None:
    """Read the version of the store; None if it cannot tell."""
    backend = service.queue_backend
    return await backend.version() if isinstance(backend, Versions) else None


def unchanged(
    service: Callable[[], QueueService], config: WebConfig
) -> Callable[[Request[Any, Any, Any]], Awaitable[Response[object] | None]]:
    """Make a hook that answers a request for something that has not changed, after its guards have let it through."""

    async def before_request(request: Request[Any, Any, Any]) -> Response[object] | None:
        if request.method != "GET" or request.scope["path"].startswith(f"{config.path.rstrip('/')}/static/"):
            return None
        opened = service()
        version = await version_of(opened)
        if version is None:
            return None
        span = int(opened.queue_backend.now().timestamp()) // LONGEST
        seen = f"{version} {span} {config.role(request)}".encode()
        tag = f'W/"{blake2b(seen, digest_size=12).hexdigest()}"'
        request.scope["state"][KEY] = tag
        if request.headers.get("if-none-match") != tag:
            return None
        return add_headers(Response(None, status_code=HTTP_304_NOT_MODIFIED, headers={"etag": tag}))

    return before_request
