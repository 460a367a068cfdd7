"""The dashboard for a Litestar application, and an ASGI application for every other one."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from litestar import Litestar, MediaType, Request, Response, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.static_files import (
    create_static_files_router,  # pyright: ignore[reportUnknownVariableType] -- Litestar leaves Request open
)

from lq_core import (
    ConfigurationError,
    DuplicateKeyError,
    IllegalMoveError,
    InvalidArgumentError,
    PayloadTooLargeError,
    QueueConfig,
    QueueError,
    QueueService,
    RecordFilter,
    RecordNotFoundError,
    RoutedQueueService,
    SignalNotStoredError,
    StorageError,
    UnknownScheduleError,
    UnknownTaskError,
)
from lq_core.config.queue_config import MAIN
from lq_web.api import Api
from lq_web.conditional import ETags, unchanged
from lq_web.config import WebConfig
from lq_web.messages import Problem
from lq_web.pages import Pages, base_of
from lq_web.recent import Numbers
from lq_web.rendering import render
from lq_web.safety import add_headers, guards_of
from lq_web.searching import condition_of

STATUSES: Final[Mapping[type[QueueError], HTTPStatus]] = MappingProxyType(
    {
        ConfigurationError: HTTPStatus.BAD_REQUEST,
        DuplicateKeyError: HTTPStatus.CONFLICT,
        IllegalMoveError: HTTPStatus.CONFLICT,
        InvalidArgumentError: HTTPStatus.BAD_REQUEST,
        PayloadTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        RecordNotFoundError: HTTPStatus.NOT_FOUND,
        SignalNotStoredError: HTTPStatus.CONFLICT,
        StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
        UnknownScheduleError: HTTPStatus.NOT_FOUND,
        UnknownTaskError: HTTPStatus.NOT_FOUND,
    }
)


class Dashboard(NamedTuple):
    """The parts of a dashboard in a Litestar application."""

    router: Router
    """The pages and the API, for the ``route_handlers``."""

    lifespan: Callable[[Litestar], AbstractAsyncContextManager[None]]
    """Counts records in the background, so that the first page mostly finds them; enter it when the queue is open."""


def create_dashboard(service: Callable[[], QueueService], config: WebConfig | None = None) -> Dashboard:
    """
    Make the dashboard and the API for a Litestar application.

    *service* returns the open service; every request calls it. Of a RoutedQueueService, it shows the store "main"; for
    another store, return ``service.stores[name]``. Check ``config.check(debug=...)`` yourself.
    """

    def opened() -> QueueService:
        found = service()  # Litestar copies a router deeply; a function of our own keeps the owner of a method whole.
        return found.stores[MAIN] if isinstance(found, RoutedQueueService) else found

    numbers = Numbers(opened)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        async with numbers.ahead():
            yield

    return Dashboard(_router(opened, config or WebConfig(), numbers), lifespan)


def _router(opened: Callable[[], QueueService], settings: WebConfig, numbers: Numbers) -> Router:
    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        return respond(request, settings, error)

    static = create_static_files_router(
        path="/static", directories=[Path(__file__).parent / "static"], include_in_schema=False
    )
    return Router(
        path=settings.path,
        route_handlers=[Pages, Api, static],
        guards=guards_of(settings),
        dependencies={
            "condition": Provide(condition_of),
            "lq_numbers": Provide(lambda: numbers, sync_to_thread=False),
            "lq_service": Provide(opened, sync_to_thread=False),
            "lq_web": Provide(lambda: settings, sync_to_thread=False),
        },
        before_request=unchanged(opened, settings),
        after_request=add_headers,
        middleware=[ETags()],
        exception_handlers={QueueError: answer, HTTPException: answer, RecursionError: answer},
        signature_namespace={each.__name__: each for each in (Numbers, QueueService, RecordFilter, WebConfig)},
    )


def create_app(queue: QueueService | QueueConfig | None = None, config: WebConfig | None = None) -> Litestar:
    """
    Make an ASGI application of its own, to serve alone or to mount in an application of another framework.

    A *queue* that is a service must be open while requests come; one that is a configuration, or None for the default
    one, is opened and closed with this application. The dashboard is at ``config.path``.

    Raises ConfigurationError if *config* has no guards and is not ``open_to_everyone``, as when it is None, and if the
    configuration of the queue has several stores.
    """
    settings = config or WebConfig()
    settings.check(debug=False)
    service = queue if isinstance(queue, QueueService) else QueueService(queue)
    service.config.check_store_is_chosen()

    dashboard = create_dashboard(lambda: service, settings)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None]:
        async with service, dashboard.lifespan(app):
            yield

    return Litestar(
        [dashboard.router],
        lifespan=[lifespan],
        openapi_config=OpenAPIConfig(title=settings.title, version="1", path="/api/schema"),
        logging_config=None,
    )


def respond(request: Request[Any, Any, Any], config: WebConfig, error: Exception) -> Response[Any]:
    """Answer a request that was refused: a page for a browser, problem details (RFC 9457) for the API."""
    status, detail = _facts(error)
    if status is None:
        raise error
    if "/api/" in request.scope["path"] or "text/html" not in request.headers.get("accept", ""):
        problem = Problem(title=status.phrase, status=int(status), detail=detail)
        return add_headers(Response(problem, status_code=status, media_type="application/problem+json"))
    text = render(
        "error.html",
        base=base_of(request, config),
        title=config.title,
        can_operate=False,
        here="",
        status=status,
        detail=detail,
    )
    return add_headers(Response(text, status_code=status, media_type=MediaType.HTML))


def _facts(error: Exception) -> tuple[HTTPStatus | None, str]:
    if isinstance(error, HTTPException):
        return HTTPStatus(error.status_code), ": ".join([error.detail, *_told(error.extra)])
    if isinstance(error, RecursionError):
        return HTTPStatus.BAD_REQUEST, "The body of the request is nested too deeply."
    status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    detail = "The queue is not available." if isinstance(error, StorageError) else str(error)
    return status, detail


def _told(extra: object) -> list[str]:
    """Return what Litestar says of each value that it refuses."""
    each = cast("list[object]", extra) if isinstance(extra, list) else []
    return [str(cast("dict[str, object]", one).get("message")) for one in each if isinstance(one, dict)]
