"""What an enqueue returns: the record, and the way to its result."""

from enum import StrEnum
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import msgspec

from lq_core.codec import CallCodec
from lq_core.errors import InvalidResultError, TaskFailedError, WaitTimeoutError
from lq_core.record import QueuedTaskRecord, TaskStatus

Result = TypeVar("Result")


class EnqueueOutcome(StrEnum):
    """What an enqueue has done."""

    CREATED = "created"
    EXISTING = "existing"
    """Another record holds the key, and stays as it was."""

    REPLACED = "replaced"
    """Another record holds the key, and asks now for what this call asked for."""

    REJECTED = "rejected"
    """Another record holds the key, and the call was to be refused then."""


class RecordSource(Protocol):
    """What a result needs of the service."""

    async def get(self, record_id: UUID) -> QueuedTaskRecord | None:
        """Read a record."""
        ...

    async def wait(self, record_id: UUID, *, timeout: float | None = None) -> QueuedTaskRecord:
        """Wait until a record has ended."""
        ...


class TaskResult(Generic[Result]):
    """One enqueued call: what the enqueue has done, where the record stands, and what it will return."""

    def __init__(
        self, record: QueuedTaskRecord, *, outcome: EnqueueOutcome, source: RecordSource, codec: CallCodec[Result]
    ) -> None:
        self.record = record
        """The record as it was last seen, which may be another one that holds the key; :meth:`refresh` looks again."""

        self.outcome = outcome

        self._source = source
        self._codec = codec

    @property
    def id(self) -> UUID:
        """The id of the record."""
        return self.record.id

    @property
    def created(self) -> bool:
        """False when another record holds the key: then this is that one."""
        return self.outcome is EnqueueOutcome.CREATED

    @property
    def status(self) -> TaskStatus:
        """Where the record stood when it was last seen."""
        return self.record.status

    async def refresh(self) -> QueuedTaskRecord:
        """Look again. Keeps what was last seen when the record has been deleted meanwhile."""
        self.record = await self._source.get(self.record.id) or self.record
        return self.record

    async def wait(self, timeout: float | None = None) -> Result:
        """
        Wait until the record has ended and return what the task returned, as its annotation says.

        Raises TaskFailedError when it failed, was cancelled or expired; WaitTimeoutError after *timeout* seconds
        (None: never), while the record goes on; RecordNotFoundError when it was deleted; InvalidResultError when
        the result does not fit the task's return annotation.
        """
        try:
            self.record = await self._source.wait(self.record.id, timeout=timeout)
        except WaitTimeoutError as error:
            await self.refresh()
            raise error from None
        record = self.record
        if record.status is TaskStatus.COMPLETED:
            try:
                return self._codec.decode_result(record.result or "null")
            except msgspec.ValidationError as error:
                raise InvalidResultError(record.id, record.task_name, str(error)) from error
        reason = f"{record.error.type}: {record.error.message}" if record.error else "it never ran to its end"
        raise TaskFailedError(record.id, record.task_name, record.status, reason)

    def __repr__(self) -> str:
        return f"<TaskResult {self.record.task_name} {self.record.id} {self.record.status} {self.outcome}>"
