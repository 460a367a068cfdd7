"""
What an error of Google's API means for a record: refused for certain, too fast, or nobody knows.

Only a certain refusal may give a record back: after anything else an execution may exist.
"""

from enum import Enum
from typing import Any, Final


class Refusal(Enum):
    """What is known after a call that failed."""

    MISCONFIGURED = "misconfigured"
    """Nothing was created, nor will be before a person mends something: another backend may take the record."""

    REFUSED = "refused"
    """Nothing was created; a later try may go through."""

    TOO_FAST = "too_fast"
    """Nothing was created, since the quota is used up."""

    UNKNOWN = "unknown"
    """An execution may have been created: the reservation has to be kept."""


_BY_CODE: Final = {
    "NOT_FOUND": Refusal.MISCONFIGURED,
    "PERMISSION_DENIED": Refusal.MISCONFIGURED,
    "INVALID_ARGUMENT": Refusal.MISCONFIGURED,
    "UNAUTHENTICATED": Refusal.REFUSED,
    "FAILED_PRECONDITION": Refusal.REFUSED,
    "UNIMPLEMENTED": Refusal.REFUSED,
    "RESOURCE_EXHAUSTED": Refusal.TOO_FAST,
}


def refusal_of(error: BaseException) -> Refusal:
    """Tell what is known after *error*."""
    if isinstance(error, (TypeError, ValueError)):
        # Google's client could not even build the message; nothing has left this process.
        return Refusal.MISCONFIGURED
    return _BY_CODE.get(code_of(error), Refusal.UNKNOWN)


def code_of(error: BaseException) -> str:
    """The name of the gRPC code that an error of Google's client carries, such as ``NOT_FOUND``; else ''."""
    code: Any = getattr(error, "grpc_status_code", None)
    return str(getattr(code, "name", ""))


def is_gone(error: BaseException) -> bool:
    """Whether an execution is not there any more, or is over already."""
    return code_of(error) in {"NOT_FOUND", "FAILED_PRECONDITION"}
