"""The value that an enqueue returns: the record, and access to its result."""

from enum import StrEnum
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import msgspec

from lq_core.foundation.duration import Duration
from lq_core.foundation.errors import InvalidResultError, TaskFailedError, WaitTimeoutError
from lq_core.foundation.quick_enum import quick_enum
from lq_core.records.record import QueuedTaskRecord, TaskStatus
from lq_core.tasks.codec import CallCodec

Result_co = TypeVar("Result_co", covariant=True)


@quick_enum
class EnqueueOutcome(StrEnum):
    """The effect of an enqueue."""

    CREATED = "created"
    EXISTING = "existing"
    """Another record holds the key, and is unchanged."""

    REPLACED = "replaced"
    """Another record holds the key, and now has the arguments and options of this call."""

    REJECTED = "rejected"
    """Another record holds the key, and ``on_conflict`` is ``"reject"``."""


class RecordSource(Protocol):
    """The part of the service that a result uses."""

    async def get(self, record_id: UUID) -> QueuedTaskRecord | None:
        """Read a record."""
        ...

    async def wait(self, record_id: UUID, *, timeout: Duration | None = None) -> QueuedTaskRecord:
        """Wait until a record has ended."""
        ...


class TaskResult(Generic[Result_co]):
    """One enqueued call: the effect of the enqueue, the state of the record, and the result of the task."""

    def __init__(
        self, record: QueuedTaskRecord, *, outcome: EnqueueOutcome, source: RecordSource, codec: CallCodec[Result_co]
    ) -> None:
        self.record = record
        """The record as last read; it can be another record that holds the key. :meth:`refresh` reads it again."""

        self.outcome = outcome

        self._source = source
        self._codec = codec

    @property
    def id(self) -> UUID:
        """The id of the record."""
        return self.record.id

    @property
    def created(self) -> bool:
        """False if another record holds the key; then this is that record."""
        return self.outcome is EnqueueOutcome.CREATED

    @property
    def status(self) -> TaskStatus:
        """The status of the record when it was last read."""
        return self.record.status

    async def refresh(self) -> QueuedTaskRecord:
        """Read the record again. If it has been deleted, keep the last one."""
        self.record = await self._source.get(self.record.id) or self.record
        return self.record

    async def wait(self, timeout: Duration | None = None) -> Result_co:
        """
        Wait until the record has ended and return the result of the task, with the type of its annotation.

        Raises TaskFailedError if it failed, was cancelled or expired; WaitTimeoutError after *timeout* seconds
        (None: never), while the record goes on; RecordNotFoundError if it was deleted; InvalidResultError if the
        result does not fit the return annotation of the task.
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
        reason = f"{record.error.type}: {record.error.message}" if record.error else "it did not complete"
        raise TaskFailedError(record.id, record.task_name, record.status, reason)

    def __repr__(self) -> str:
        return f"<TaskResult {self.record.task_name} {self.record.id} {self.record.status} {self.outcome}>"
