"""Middleware: code that an application wraps around every attempt."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, runtime_checkable

from lq_core.records.record import QueuedTaskRecord
from lq_core.tasks.context import TaskContext

Proceed: TypeAlias = Callable[[], Awaitable[QueuedTaskRecord]]
"""Runs the attempt, records its outcome, and returns the recorded record; await it once."""


@runtime_checkable
class Middleware(Protocol):
    """
    Wraps one attempt: ``QueueConfig(middleware=(outermost, ..., innermost))``.

    Code before ``await proceed()`` runs before the arguments are decoded and values are injected. Code after it runs
    when the outcome is recorded; :attr:`TaskContext.error` then holds the exception of the task, if any. The task sees
    context variables that are set before, also in a thread.

    An exception before ``proceed()`` becomes the outcome of the attempt, as if the task had raised it: retries,
    ``RetryLater`` and ``NonRetryable`` work as in a task. An exception after it is only logged. Middleware is not
    cancelled with the task, and the timeout of the task does not count it: keep it quick.
    """

    async def __call__(self, context: TaskContext, proceed: Proceed, /) -> QueuedTaskRecord:
        """Wrap one attempt; return the result of ``proceed()``."""
        ...


@runtime_checkable
class EnqueueMiddleware(Middleware, Protocol):
    """A middleware that also sees each new record, before it is stored, in the code that enqueues it."""

    def enqueuing(self, record: QueuedTaskRecord, /) -> QueuedTaskRecord:
        """
        Return the record to store: this one, or one with other ``metadata``, such as a trace context.

        What it raises, the enqueue raises. The record is not stored if its key is held, or the transaction fails.
        """
        ...
