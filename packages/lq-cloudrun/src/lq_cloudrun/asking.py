"""Asking Cloud Run for an execution: once, with a limit, and without waiting for its end."""

from typing import Any

from lq_cloudrun.clients import JobsClient


class UnreadableAnswerError(Exception):
    """RunJob has answered, but not with an execution: one exists, and its name is not known."""


async def run_job(client: JobsClient, request: dict[str, Any], *, timeout: float) -> Any:
    """Start an execution and return it; raises UnreadableAnswerError and Google's errors."""
    operation = await client.run_job(request=request, timeout=timeout)
    try:
        execution: Any = operation.metadata
        name = str(execution.name)
    except Exception as error:
        raise UnreadableAnswerError(f"{type(error).__name__}: {error}") from error
    if not name:
        raise UnreadableAnswerError("the execution has no name")
    return execution
