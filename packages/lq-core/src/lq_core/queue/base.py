"""What the author of a queue backend subclasses: a store, and the front door around it."""

from collections.abc import Callable
from datetime import datetime

from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.clock import utc_now
from lq_core.queue.queue import Queue


class BaseQueueBackend(Queue):
    """
    Stores records, and makes sure that only one of two writers changes one: every change matches ``(id, epoch)``.

    The lifecycle decides what happens to a record, never the backend. Implement the methods of
    :class:`~lq_core.queue.store.QueueStore`, and add the classes of :mod:`lq_core.queue.capabilities` that apply to
    the bases. A backend is done when it passes :class:`lq_core.contracts.QueueBackendContract`. A backend object
    belongs to the event loop that opened it.
    """

    def __init__(self, config: QueueConfig | None = None, *, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(config or QueueConfig(), clock=clock)

    async def open(self) -> None:
        """Connect, and bring the schema up to date; several processes may do this at once."""

    async def close(self) -> None:
        """Close every connection and thread; a second close does nothing."""

    @property
    def address(self) -> str:
        """Where the records are, without secrets, for the log and for messages."""
        return type(self).__name__
