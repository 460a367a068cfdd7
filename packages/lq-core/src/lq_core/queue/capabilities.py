"""What some stores can do beyond QueueStore: each capability is a class that a backend names among its bases."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

from lq_core.queue.diagnosis import Finding
from lq_core.queue.messages import Action, Backup, Insertion, Migration, Swap
from lq_core.queue.rollups import Rollup
from lq_core.records.record import QueuedTaskRecord


class Transactions(ABC):
    """
    The records are in the database of the application, and can share its transactions.

    Each method works in the open transaction of *connection*, which belongs to the application, and raises
    ConfigurationError when no transaction is open. The insert of a record with a key may wait for such a transaction,
    so the front door keeps it apart from other inserts.
    """

    @abstractmethod
    async def insert_within(self, connection: object, records: Sequence[QueuedTaskRecord]) -> Sequence[Insertion]:
        """Store new records as ``insert_many`` does; the commit wakes the workers."""

    @abstractmethod
    async def amend_within(self, connection: object, swaps: Sequence[Swap]) -> Sequence[bool]:
        """Amend records as ``amend_many`` does."""

    @abstractmethod
    async def get_within(self, connection: object, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        """Read records as the transaction sees them."""

    @abstractmethod
    async def swap_within(self, connection: object, swap: Swap) -> bool:
        """Swap one record."""


class Notifications(ABC):
    """The store notices the changes of other processes."""

    @abstractmethod
    def listen(self, heard: Callable[[], None]) -> None:
        """
        Call *heard* in the event loop when another process may have brought work.

        The front door calls this each time that a worker waits for work. Do not block.
        """


class ThreadHeartbeats(ABC):
    """The store can store a heartbeat while the event loop is blocked."""

    @abstractmethod
    def beat_from_thread(self, worker_id: str) -> bool:
        """
        Store a heartbeat as ``beat`` does, and wait for it in the calling thread, without the event loop.

        Several threads may call it at once, and also while the store is being closed; then it raises StorageError.
        """


class Successors(ABC):
    """The store finds the successors of records without a look at the other blocked records."""

    @abstractmethod
    async def unblocked_by(self, ids: Sequence[UUID], *, limit: int) -> Sequence[QueuedTaskRecord]:
        """Read at most *limit* of the records that ``unblocked`` finds: those that come after any of *ids*."""

    @abstractmethod
    async def successors(self, record_id: UUID, *, limit: int) -> Sequence[QueuedTaskRecord]:
        """Read at most *limit* records that come after a record, oldest first: all blocked ones, and perhaps others."""


class Migrations(ABC):
    """The store has a schema that changes from version to version. Both methods work on a closed store."""

    may_migrate: bool = True
    """Whether ``open`` may change the schema. A container sets this to False; then ``open`` raises SchemaError."""

    @abstractmethod
    async def missing_migrations(self) -> Sequence[Migration]:
        """List what opening would do to the schema, in order; raises as ``open`` does."""

    @abstractmethod
    async def apply_migrations(self) -> Sequence[Migration]:
        """Bring the schema up to date, even where opening refuses to, and list what was missing."""


class Findings(ABC):
    """The store adds checks of its own to ``lq doctor``."""

    @abstractmethod
    async def findings(self) -> Sequence[Finding]:
        """Look at the database, and change nothing."""


class Backups(ABC):
    """The store can copy itself to a file while processes use it."""

    @abstractmethod
    async def copy_to(self, target: Path, *, overwrite: bool) -> Backup:
        """
        Copy everything as it is at one moment, check the copy, and put it at *target*; works on a closed store.

        Raises StorageError, and leaves *target* as it is, if it exists and *overwrite* is False.
        """


class Actions(ABC):
    """The store keeps what people have changed."""

    @abstractmethod
    async def add_action(self, action: Action, *, oldest: datetime) -> None:
        """Keep a change, and delete those before *oldest*."""

    @abstractmethod
    async def actions(self, *, limit: int) -> Sequence[Action]:
        """Read the newest changes, newest first."""


class Versions(ABC):
    """The store tells cheaply whether anything has changed."""

    @abstractmethod
    async def version(self) -> str:
        """Return a text that stays the same only while nothing in the store changes, heartbeats included."""


class Rollups(ABC):
    """The store keeps what has ended in each minute, for the charts of the last days."""

    @abstractmethod
    async def add_rollups(self, rollups: Sequence[Rollup], *, oldest: datetime) -> None:
        """Add these numbers to those of the same minute and queue, and delete what was before *oldest*."""

    @abstractmethod
    async def rollups(self, *, queue: str, since: datetime) -> Sequence[Rollup]:
        """Read the rollups of a queue, or of ``EVERYTHING``, from the minute *since* on, oldest first."""
