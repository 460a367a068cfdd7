"""
The two shapes of execution backends: records run in this process, or in another process that claims them.

A third party subclasses :class:`InProcessExecutionBackend` or :class:`ExternalExecutionBackend`.
"""

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import ClassVar, Protocol

from lq_core.attempts.attempt import Perform
from lq_core.config.queue_config import QueueConfig
from lq_core.queue.base import BaseQueueBackend
from lq_core.queue.diagnosis import Finding
from lq_core.records.record import QueuedTaskRecord


class ExecutionService(Protocol):
    """The part of the queue service that an execution backend uses."""

    @property
    def config(self) -> QueueConfig:
        """The configuration of the application."""
        ...

    @property
    def queue_backend(self) -> BaseQueueBackend:
        """The store of the records; its ``now()`` is the clock."""
        ...

    @property
    def worker_ids(self) -> frozenset[str]:
        """The ids under which workers of this process are registered."""
        ...

    def execute_record(
        self, record: QueuedTaskRecord, *, worker_id: str | None = None, perform: Perform | None = None
    ) -> Coroutine[None, None, QueuedTaskRecord]:
        """Run a record, own it until its attempt is over, and store the outcome; *perform* runs its function."""
        ...

    async def swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> bool:
        """Store *new*, a step of the lifecycle from *old*; False if *old* is no longer the stored record."""
        ...


class BaseExecutionBackend(ABC):
    """
    Runs records: the common base of both shapes.

    A backend changes a record only by ``service.execute_record``, or by ``service.swap`` with a step of the
    lifecycle. A new backend is done when it passes :class:`lq_core.contracts.ExecutionBackendContract`.
    """

    external: ClassVar[bool] = False
    """True when another process claims the records by id and epoch; set by the shape."""

    inline: ClassVar[bool] = False
    """True when a record that is due runs during its enqueue."""

    isolates: ClassVar[bool] = False
    """True when a task that kills the process it runs in kills no other task, and not the worker."""

    name: str = ""
    """The short name or import path of the backend, as records name it."""

    def __init__(self, config: QueueConfig | None = None) -> None:
        self.config = config or QueueConfig()

    async def open(self, service: ExecutionService) -> None:
        """Prepare to execute; a worker calls it before its first claim."""

    async def close(self) -> None:
        """Release the resources of :meth:`open`."""

    async def diagnose(self, service: ExecutionService) -> Sequence[Finding]:
        """
        Check the settings of this backend and its external services, for ``lq doctor``.

        The backend and the service can be closed, but the queue backend is open. The check changes nothing.
        """
        return ()

    @abstractmethod
    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        """
        Execute a record and return the stored record.

        An in-process backend runs it to the end of the attempt. An external one dispatches it.
        """

    @abstractmethod
    async def dispatch(self, service: ExecutionService, record: QueuedTaskRecord) -> str | None:
        """Hand a record to an external executor; return the external execution reference, if one was created."""

    @abstractmethod
    async def reconcile(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Compare a record with its external execution; return the updated record if that changed its state."""

    @abstractmethod
    async def cancel(self, service: ExecutionService, record: QueuedTaskRecord) -> bool:
        """Ask an external execution to stop; True when cancellation succeeded."""


class InProcessExecutionBackend(BaseExecutionBackend):
    """
    Runs records that the worker of this process has claimed; the worker owns them, also while a child process runs.

    You write :meth:`execute`, and call ``service.execute_record`` in it. That call registers the attempt, so that a
    cancellation, a timeout, a lost record and a shutdown all cancel it; do not run a record any other way.
    """

    slots: int | None = None
    """The number of records that it runs at once; None if it shares ``QueueConfig.concurrency``."""

    async def dispatch(self, service: ExecutionService, record: QueuedTaskRecord) -> str | None:
        """Return None, because there is no external execution."""
        return None

    async def reconcile(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Return None, because the heartbeat of the worker covers its records."""
        return None

    async def cancel(self, service: ExecutionService, record: QueuedTaskRecord) -> bool:
        """Return False, because the service stops the attempt itself."""
        return False


class ExternalExecutionBackend(BaseExecutionBackend):
    """
    Gives records to an external executor, which claims them by id and epoch.

    It gets *dispatched* records: they are reserved, with a new epoch. Executor and dispatcher can die before or after
    the claim; :meth:`reconcile` finds the records that no process runs.
    """

    external: ClassVar[bool] = True
    isolates: ClassVar[bool] = True

    reconcile_interval: float = 5.0
    """Seconds between two rounds of :meth:`reconcile_many` over all records of this backend."""

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        """Dispatch a record and return the stored record."""
        await self.dispatch(service, record)
        return await service.queue_backend.get(record.id) or record

    @abstractmethod
    async def capacity(self, service: ExecutionService) -> int:
        """Return how many more records can be dispatched now; the records of all workers count."""

    async def reconcile_many(
        self, service: ExecutionService, records: Sequence[QueuedTaskRecord]
    ) -> list[QueuedTaskRecord]:
        """Reconcile a page of records, oldest first, and return the changed ones. Override it to save requests."""
        changed = [await self.reconcile(service, record) for record in records]
        return [record for record in changed if record is not None]
