"""
What is asked of Google's clients, and no more; they are wrapped in one file, and imported nowhere else.

Answers are read by attribute, so that a small object that records will do in their place.
"""

from collections.abc import AsyncIterator
from typing import Any, Protocol


class RunOperation(Protocol):
    """What starting an execution answers with; it is never waited for."""

    @property
    def metadata(self) -> Any:
        """The execution as it was when the call was answered."""
        ...


class JobsClient(Protocol):
    """What is used of ``JobsAsyncClient``."""

    async def run_job(self, request: dict[str, Any], *, timeout: float) -> RunOperation:
        """Start an execution."""
        ...


class ExecutionPages(Protocol):
    """A list of executions, fetched page by page while it is walked through."""

    def __aiter__(self) -> AsyncIterator[Any]: ...


class ExecutionsClient(Protocol):
    """What is used of ``ExecutionsAsyncClient``."""

    async def get_execution(self, *, name: str, timeout: float) -> Any:
        """Ask for an execution."""
        ...

    async def list_executions(self, request: dict[str, Any], *, timeout: float) -> ExecutionPages:
        """Ask for the executions of a job, in pages."""
        ...

    async def cancel_execution(self, *, name: str, timeout: float) -> object:
        """Ask an execution to end."""
        ...
