"""The responses to errors of lq: an HTTP status and a message for the client."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, cast

from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.exceptions.responses import (
    create_debug_response,  # pyright: ignore[reportUnknownVariableType] -- Litestar leaves Response open
    create_exception_response,  # pyright: ignore[reportUnknownVariableType] -- as above
)

from lq_core import (
    DuplicateKeyError,
    IllegalMoveError,
    PayloadTooLargeError,
    QueueError,
    RecordNotFoundError,
    StorageError,
    WaitTimeoutError,
)
from lq_core.foundation.event_log import event_log

log = event_log()

STATUSES: Final[Mapping[type[QueueError], int]] = MappingProxyType(
    {
        RecordNotFoundError: HTTPStatus.NOT_FOUND,
        DuplicateKeyError: HTTPStatus.CONFLICT,
        IllegalMoveError: HTTPStatus.CONFLICT,
        PayloadTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
        WaitTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""
Every other error of lq, such as a wrong argument, is a fault of the application: it is logged, and the client gets 500.
"""

_UNAVAILABLE: Final = "The queue is not available."
"""The message for a StorageError, whose own text names files and hosts."""

AnyRequest = Request[object, object, State]
AnyResponse = Response[object]
Handler = Callable[[AnyRequest, Exception], AnyResponse]
LITESTARS_OWN: Final = cast("Handler", create_exception_response)


def to_response(request: AnyRequest, error: QueueError) -> AnyResponse:
    """Respond to a request that raised an error of lq. An application can set its own handler instead."""
    status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    if status is None:
        log.error("request.failed", exc_info=error, extra={"path": request.url.path})
        respond = cast("Handler", create_debug_response) if request.app.debug else LITESTARS_OWN
        return respond(request, error)
    detail = _UNAVAILABLE if isinstance(error, StorageError) else str(error)
    # Use the application's handler for HTTP errors, for instance one for problem details.
    handlers = cast("Mapping[object, Handler]", request.app.exception_handlers)
    return handlers.get(HTTPException, LITESTARS_OWN)(request, HTTPException(detail, status_code=status))
