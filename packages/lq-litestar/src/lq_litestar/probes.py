"""The probes and the metrics of an application, as routes for monitoring systems."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias

from litestar import MediaType, Response, Router, get
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from lq_core import QueueService, StorageError, Worker
from lq_core.observability.probes import Exposition, probes
from lq_core.observability.status_server import Answer

Guard: TypeAlias = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Any]
"""A guard of Litestar: it raises an exception to refuse a request."""

UNAVAILABLE = Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"The queue is not available.\n")
"""The answer instead of a StorageError, whose own text names files and hosts."""


def probe_router(
    opened: Callable[[], tuple[QueueService, Worker | None]],
    *,
    path: str,
    guards: Sequence[Guard],
    metrics: Exposition | None,
) -> Router:
    """Make the routes ``/healthz`` and ``/readyz``, and ``/metrics`` if there are metrics; see :func:`probes`."""

    async def answer(name: str) -> Response[bytes]:
        try:
            status, body, content_type = await probes(*opened(), metrics)[name]()
        except StorageError:
            status, body, content_type = UNAVAILABLE
        return Response(body, status_code=status, media_type=content_type)

    @get("/healthz", media_type=MediaType.TEXT)
    async def healthz() -> Response[bytes]:
        return await answer("/healthz")

    @get("/readyz", media_type=MediaType.TEXT)
    async def readyz() -> Response[bytes]:
        return await answer("/readyz")

    @get("/metrics", media_type=MediaType.TEXT)
    async def scraped() -> Response[bytes]:
        return await answer("/metrics")

    handlers = [healthz, readyz] if metrics is None else [healthz, readyz, scraped]
    return Router(path, route_handlers=handlers, guards=guards, include_in_schema=False)
