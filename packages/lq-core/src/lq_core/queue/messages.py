"""What passes between the service and a queue backend: questions and answers, as values."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from lq_core.errors import ConfigurationError
from lq_core.options import OnConflict
from lq_core.record import Limits, QueuedTaskRecord, TaskStatus


class Insertion(Struct, gc=False, frozen=True):
    """What became of one record that was to be stored."""

    record: QueuedTaskRecord
    """The stored record, or the one that holds the key."""

    created: bool
    replaced: bool = False
    """True when the record that holds the key asks for what the new one asked for."""


class Proposal(Struct, gc=False, frozen=True):
    """A record to be stored, and what is to be done when its key is held."""

    record: QueuedTaskRecord
    on_conflict: OnConflict = OnConflict.RETURN_EXISTING


class Swap(Struct, gc=False, frozen=True, kw_only=True):
    """Keep *record* if what is stored has its id and *epoch*."""

    record: QueuedTaskRecord
    epoch: int


class Claim(Struct, gc=False, frozen=True, kw_only=True):
    """What one worker would take."""

    worker_id: str
    limit: int
    execution_backends: tuple[str, ...]
    """Only records that are to run on one of these."""

    queues: tuple[str, ...] | None = None
    """Only records of these queues; None for all."""

    to: TaskStatus = TaskStatus.RUNNING
    """``running``, or ``dispatched`` to reserve them for an external execution."""


class Claimed(Struct, gc=False, frozen=True, kw_only=True):
    """What a claim took, in the order of priority, due time and id."""

    records: tuple[QueuedTaskRecord, ...] = ()
    alive: bool = True
    """False when the worker is not registered, or has been declared dead: it has taken nothing."""

    held_back: bool = False
    """True when due records were passed over because of a limit: they may start when others have ended."""


class Freed(Struct, gc=False, frozen=True, kw_only=True):
    """Which blocked records wait for nothing any more."""

    records: Sequence[QueuedTaskRecord] = ()
    others_wait: bool = False
    """Whether there are blocked records besides these."""


class RecordFilter(Struct, frozen=True, kw_only=True):
    """Which records are meant; None means any, an empty tuple none."""

    statuses: tuple[TaskStatus, ...] | None = None
    queues: tuple[str, ...] | None = None
    task_names: tuple[str, ...] | None = None
    execution_backends: tuple[str, ...] | None = None
    key: str | None = None
    schedule: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    """Both moments themselves are left out."""

    def __post_init__(self) -> None:
        """Refuse, with a ConfigurationError, what one backend would take for something else than another."""
        for name in ("queues", "task_names", "execution_backends"):
            if isinstance(getattr(self, name), str):
                value = getattr(self, name)
                raise ConfigurationError(f"{name} is {value!r}; it must be a tuple of names: ({value!r},).")
        if not all(isinstance(one, TaskStatus) for one in self.statuses or ()):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            raise ConfigurationError(f"statuses is {self.statuses!r}; it must be a tuple: (TaskStatus.FAILED,).")
        for name in ("created_after", "created_before"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise ConfigurationError(f"{name} is {moment}, which names no time zone: datetime.now(UTC) does.")

    def matches(self, record: QueuedTaskRecord) -> bool:
        """Whether this record is meant."""
        return (
            (self.statuses is None or record.status in self.statuses)
            and (self.queues is None or record.queue in self.queues)
            and (self.task_names is None or record.task_name in self.task_names)
            and (self.execution_backends is None or record.execution_backend in self.execution_backends)
            and (self.key is None or record.key == self.key)
            and (self.schedule is None or record.schedule == self.schedule)
            and (self.created_after is None or record.created_at > self.created_after)
            and (self.created_before is None or record.created_at < self.created_before)
        )


class Statistics(Struct, frozen=True, kw_only=True):
    """The queue in numbers."""

    counts: Mapping[str, Mapping[TaskStatus, int]]
    """By queue, by status; what is 0 is left out."""

    oldest_due: datetime | None = None
    """
    Since when the record that has waited longest could have been started; None when nothing waits.

    Paused queues count; what is overdue or was asked to stop does not.
    """

    def total(self, status: TaskStatus) -> int:
        """Count the records of a status over all queues."""
        return sum(by_status.get(status, 0) for by_status in self.counts.values())


class WorkerInfo(Struct, frozen=True, kw_only=True):
    """One worker as the others see it."""

    id: str
    queues: tuple[str, ...] | None = None
    execution_backends: tuple[str, ...] = ()
    concurrency: int = 0
    started_at: datetime
    seen_at: datetime


class QueueState(Struct, frozen=True, kw_only=True):
    """What has been said about a queue at run time."""

    paused: bool = False
    limits: Limits | None = None
    draining: datetime | None = None
    """Only records that were created before this moment are claimed; None for all."""


class Migration(Struct, frozen=True, kw_only=True):
    """One numbered step of a database's schema."""

    number: int
    name: str
    sql: str
    """What it does, and the note that it has been done; to be run in one transaction."""
