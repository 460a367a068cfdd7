"""What the owner of a record does for the task that runs: it stores reports, and reads other records."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from msgspec import Struct

from lq_core.records.record import Fence, Progress, QueuedTaskRecord


class Owner(Struct, frozen=True, kw_only=True):
    """The calls of a task's context that reach the store."""

    report: Callable[[Fence, Progress | str], Awaitable[None]]
    """Accept a progress, or a line of the log; it is stored soon."""

    keep: Callable[[Fence, str, str, str], Awaitable[None]]
    """
    Store a named value, given as its event, name and JSON, and return when it is durable.

    Raises OwnershipLostError if the record has another owner.
    """

    read: Callable[[Sequence[UUID]], Awaitable[Sequence[QueuedTaskRecord]]]
    complete: Callable[[Fence, object, object], Awaitable[None]]
    """Complete the record, in the transaction of a connection, with a result."""
