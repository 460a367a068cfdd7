"""
What lq asks of a place that runs records: one verb, and three more if it is outside of this process.
"""

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import ClassVar, Protocol

from lq_core.config import QueueConfig
from lq_core.queue.base import BaseQueueBackend
from lq_core.record import QueuedTaskRecord


class ExecutionService(Protocol):
    """What an execution backend is handed: the queue service, and no more of it than this."""

    @property
    def config(self) -> QueueConfig:
        """The application's configuration."""
        ...

    @property
    def queue_backend(self) -> BaseQueueBackend:
        """Where the records are; its ``now()`` is the clock."""
        ...

    def execute_record(
        self, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> Coroutine[None, None, QueuedTaskRecord]:
        """Run a record in this process and record the outcome."""
        ...

    async def swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> bool:
        """Keep *new*, a step of :mod:`lq_core.lifecycle` from *old*; False when *old* is not current any more."""
        ...


class BaseExecutionBackend(ABC):
    """
    Runs records, here or elsewhere.

    A backend that runs them elsewhere sets ``external`` and is given records that are *dispatched*: reserved, with
    a new epoch. It never changes a record but by ``service.swap`` with a step of the lifecycle. A new backend is
    done when it passes :class:`lq_core.testing.ExecutionBackendContract`.
    """

    external: ClassVar[bool] = False
    """True when records run in another process that claims them by id and epoch."""

    inline: ClassVar[bool] = False
    """True when a record that is due runs during its enqueue."""

    reconcile_interval: float = 5.0
    """Seconds between two rounds of :meth:`reconcile_many` over all records that are with this backend."""

    name: str = ""
    """What records call it: the short name or import path by which it was found."""

    def __init__(self, config: QueueConfig | None = None) -> None:
        self.config = config or QueueConfig()

    async def open(self, service: ExecutionService) -> None:
        """Get ready to execute; a worker calls it before its first claim."""

    async def close(self) -> None:
        """Let go of what :meth:`open` took."""

    @abstractmethod
    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        """
        Execute a record and return what has become of it.

        A local backend runs it to the end of the attempt; an external one dispatches it and returns the
        persisted record.
        """

    async def dispatch(self, service: ExecutionService, record: QueuedTaskRecord) -> str | None:
        """Hand a record to an external executor; return the external execution reference, if one was created."""
        return None

    async def reconcile(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Compare a record with its external execution; return the updated record if that changed its state."""
        return None

    async def reconcile_many(
        self, service: ExecutionService, records: Sequence[QueuedTaskRecord]
    ) -> list[QueuedTaskRecord]:
        """Reconcile a page of records, oldest first, and return those that changed; override it to ask less often."""
        changed = [await self.reconcile(service, record) for record in records]
        return [record for record in changed if record is not None]

    async def cancel(self, service: ExecutionService, record: QueuedTaskRecord) -> bool:
        """Ask an external execution to stop; True when cancellation succeeded."""
        return False

    async def capacity(self, service: ExecutionService) -> int:
        """How many more records an external backend would dispatch now."""
        return 10
