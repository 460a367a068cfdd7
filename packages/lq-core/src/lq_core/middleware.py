"""What an application may put around every attempt: tracing, error reports, measurements, context variables."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from lq_core.context import TaskContext
from lq_core.record import QueuedTaskRecord

Proceed: TypeAlias = Callable[[], Awaitable[QueuedTaskRecord]]
"""Runs the attempt, records what came of it, and returns the record as it was recorded; to be awaited once."""


class Middleware(Protocol):
    """
    Stands around one attempt: ``QueueConfig(middleware=(outermost, ..., innermost))``.

    What is done before ``await proceed()`` comes before the task, its decoding and its dependencies included; what
    is done after it comes when the outcome is recorded, and :attr:`TaskContext.error` then holds the exception, if
    there was one. Context variables that are set before are seen by the task, also in a thread.

    An exception before ``proceed()`` is the outcome of the attempt, as if the task had raised it: retries apply, and
    ``RetryLater`` and ``NonRetryable`` mean what they mean in a task. An exception after it is logged, and changes
    nothing. It is not cancelled with the task, and the task's timeout does not count it: keep it quick.
    """

    async def __call__(self, context: TaskContext, proceed: Proceed, /) -> QueuedTaskRecord:
        """Surround one attempt; return what ``proceed()`` has returned."""
        ...
