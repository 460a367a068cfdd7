"""
What an error of Google's API means for a record: a certain refusal, too many calls, or unknown.

Only a certain refusal releases a record. After any other error an execution may exist.
"""

from enum import Enum
from typing import Any, Final

LOOKING: Final = "roles/run.viewer"
"""The role that may read jobs and executions."""


class Refusal(Enum):
    """What the error of a call says about the execution that the call asked for."""

    MISCONFIGURED = "misconfigured"
    """It was not created, and will not be until a person acts: another backend may take the record."""

    REFUSED = "refused"
    """It was not created. A later call may succeed."""

    TOO_FAST = "too_fast"
    """It was not created, because the quota is used up."""

    UNKNOWN = "unknown"
    """It may exist: the record stays reserved."""


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
    """Return what *error* says about the execution. An error that is not the service's may follow its answer."""
    if "CLIENT:" in str(error):
        return Refusal.UNKNOWN  # gRPC here has refused the answer, so that the service has acted on the call.
    return _BY_CODE.get(code_of(error), Refusal.UNKNOWN)


def code_of(error: BaseException) -> str:
    """Return the name of the gRPC code of an error, for example ``NOT_FOUND``; '' for an error that has none."""
    code: Any = getattr(error, "grpc_status_code", None)
    return str(getattr(code, "name", ""))


def line_of(error: BaseException) -> str:
    """Return an error as one line for the log."""
    return f"{type(error).__name__}: {error}"
