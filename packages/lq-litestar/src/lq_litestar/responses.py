"""What the client is told when lq refuses: an HTTP status, and the words that are meant for it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, cast

from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.exceptions.responses import (
    create_debug_response,  # pyright: ignore[reportUnknownVariableType] -- Litestar leaves Response open
    create_exception_response,  # pyright: ignore[reportUnknownVariableType] -- as above
)
from litestar.status_codes import (
    HTTP_400_BAD_REQUEST,
    HTTP_404_NOT_FOUND,
    HTTP_409_CONFLICT,
    HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    HTTP_503_SERVICE_UNAVAILABLE,
    HTTP_504_GATEWAY_TIMEOUT,
)

from lq_core import (
    DuplicateKeyError,
    IllegalMoveError,
    InvalidArgumentError,
    PayloadTooLargeError,
    QueueError,
    RecordNotFoundError,
    StorageError,
    UnknownTaskError,
    WaitTimeoutError,
)

STATUSES: Final[Mapping[type[QueueError], int]] = MappingProxyType(
    {
        InvalidArgumentError: HTTP_400_BAD_REQUEST,
        RecordNotFoundError: HTTP_404_NOT_FOUND,
        UnknownTaskError: HTTP_404_NOT_FOUND,
        DuplicateKeyError: HTTP_409_CONFLICT,
        IllegalMoveError: HTTP_409_CONFLICT,
        PayloadTooLargeError: HTTP_413_REQUEST_ENTITY_TOO_LARGE,
        StorageError: HTTP_503_SERVICE_UNAVAILABLE,
        WaitTimeoutError: HTTP_504_GATEWAY_TIMEOUT,
    }
)
"""Every other error of lq is a fault of the application, and answered as Litestar answers those: 500."""

_UNAVAILABLE: Final = "The queue is not available."
"""A StorageError names files and hosts, which are nobody's business outside."""

AnyRequest = Request[object, object, State]
AnyResponse = Response[object]
Answer = Callable[[AnyRequest, Exception], AnyResponse]


def to_response(request: AnyRequest, error: QueueError) -> AnyResponse:
    """Answer a request that ended with an error of lq; an application replaces this with a handler of its own."""
    status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    if status is None:
        if request.app.debug:
            return cast("AnyResponse", create_debug_response(request, error))
        return cast("AnyResponse", create_exception_response(request, error))
    detail = _UNAVAILABLE if isinstance(error, StorageError) else str(error)
    # As the application answers its own HTTP errors, for instance as problem details.
    handlers = cast("Mapping[object, Answer]", request.app.exception_handlers)
    answer = handlers.get(HTTPException, cast("Answer", create_exception_response))
    return answer(request, HTTPException(detail, status_code=status))
