"""The values that the service and a queue backend exchange."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from msgspec import Struct, field

from lq_core.foundation.errors import ConfigurationError
from lq_core.queue.search import Words, words_of
from lq_core.records.record import Limits, QueuedTaskRecord, TaskStatus
from lq_core.tasks.options import OnConflict

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Insertion(Struct, gc=False, frozen=True):
    """The result of storing one record."""

    record: QueuedTaskRecord
    """The stored record, or the one that holds the key."""

    created: bool
    replaced: bool = False
    """Whether the record that holds the key was amended to ask for what the new one asked for."""


class Proposal(Struct, gc=False, frozen=True):
    """A record to store, and what to do when its key is held."""

    record: QueuedTaskRecord
    on_conflict: OnConflict = OnConflict.RETURN_EXISTING


class Swap(Struct, gc=False, frozen=True, kw_only=True):
    """Store *record* if the stored record has the same id and this *epoch*."""

    record: QueuedTaskRecord
    epoch: int


class Claim(Struct, gc=False, frozen=True, kw_only=True):
    """The records that a worker asks for."""

    worker_id: str
    limit: int
    execution_backends: tuple[str, ...]
    """Only records for one of these."""

    queues: tuple[str, ...] | None = None
    """Only records of these queues; None for all."""

    to: TaskStatus = TaskStatus.RUNNING
    """``running``, or ``dispatched`` to reserve records for an external execution."""

    brief: bool = False
    """Whether a store may leave out for some seconds what takes it long to find; see ``Claimed.next_look``."""


class Claimed(Struct, gc=False, frozen=True, kw_only=True):
    """The records that a claim took, in the order of priority, due time and id."""

    records: tuple[QueuedTaskRecord, ...] = ()
    alive: bool = True
    """False when the worker is not registered or has been declared dead; the claim took nothing."""

    uncertain: bool = False
    """Whether a part of the claim was not answered, so that the worker may own more than these records."""

    held_back: bool = False
    """Whether a limit held back due records, which may start when others have ended."""

    next_look: datetime | None = None
    """
    When a worker that has heard nothing should claim again, if the store knows; otherwise, ``next_due`` tells it.

    Until then, the store may leave out records in answers to brief claims.
    """


class Unblocked(Struct, gc=False, frozen=True, kw_only=True):
    """The blocked records whose predecessors have all ended."""

    records: Sequence[QueuedTaskRecord] = ()
    others_wait: bool = False
    """Whether there are other blocked records."""


class RecordFilter(Struct, frozen=True, kw_only=True):
    """A condition on records. None matches every record, an empty tuple matches no record."""

    statuses: tuple[TaskStatus, ...] | None = None
    queues: tuple[str, ...] | None = None
    task_names: tuple[str, ...] | None = None
    execution_backends: tuple[str, ...] | None = None
    key: str | None = None
    schedule: str | None = None
    external: bool = False
    """Only records in an external execution: dispatched ones, and those with an execution reference."""

    created_after: datetime | None = None
    created_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None
    """No range includes the moment itself. A record that has not ended is in no range of ``finished_*``."""

    text: str | None = None
    """This occurs in the name of the task, the arguments, the metadata or the last error. Case matters."""

    values: Mapping[str, str] = NOTHING
    """
    Values of arguments and metadata: ``{"metadata.tenant": "acme", "arguments.order_id": "17"}``.

    A name is found at any depth. A number, ``true``, ``false`` and ``null`` are also found by their JSON text.
    """

    error_type: str | None = None
    """The type of the last error, as in ``"ValueError"``."""

    error_text: str | None = None
    """This occurs in the last error: in its message or its traceback."""

    worker_id: str | None = None
    """This worker runs it, or its history names the worker."""

    newest: int | None = None
    """Look only at this many of the newest records, whether they match or not, to bound the work of a search."""

    def __post_init__(self) -> None:
        """Refuse what backends would interpret differently, with a ConfigurationError."""
        if self.newest is not None and self.newest < 1:
            raise ConfigurationError(f"newest is {self.newest}; it must be a whole number of 1 or more, or None.")
        self.words()
        for name in ("queues", "task_names", "execution_backends"):
            if isinstance(getattr(self, name), str):
                value = getattr(self, name)
                raise ConfigurationError(f"{name} is {value!r}; it must be a tuple of names: ({value!r},).")
        if not all(isinstance(one, TaskStatus) for one in self.statuses or ()):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            raise ConfigurationError(f"statuses is {self.statuses!r}; it must be a tuple: (TaskStatus.FAILED,).")
        for name in ("created_after", "created_before", "finished_after", "finished_before"):
            moment = getattr(self, name)
            if moment is not None and moment.utcoffset() is None:
                raise ConfigurationError(
                    f"{name} is {moment}, which names no time zone; use a moment such as datetime.now(UTC)."
                )

    @property
    def searches_text(self) -> bool:
        """Whether it has a condition on the text of records, which has no index."""
        return bool(self.values) or not (self.text is self.error_type is self.error_text is self.worker_id is None)

    def words(self) -> list[Words]:
        """Return the conditions on the text of a record. Raises ConfigurationError for a wrong name in *values*."""
        return words_of(
            text=self.text,
            values=self.values,
            error_type=self.error_type,
            error_text=self.error_text,
            worker_id=self.worker_id,
        )

    def matches(self, record: QueuedTaskRecord) -> bool:
        """Whether a record meets the condition; *newest* is about all records, and is left to the queue backend."""
        finished = record.finished_at
        return (
            (self.statuses is None or record.status in self.statuses)
            and (self.queues is None or record.queue in self.queues)
            and (self.task_names is None or record.task_name in self.task_names)
            and (self.execution_backends is None or record.execution_backend in self.execution_backends)
            and (self.key is None or record.key == self.key)
            and (self.schedule is None or record.schedule == self.schedule)
            and (not self.external or record.status is TaskStatus.DISPATCHED or record.execution_ref is not None)
            and (self.created_after is None or record.created_at > self.created_after)
            and (self.created_before is None or record.created_at < self.created_before)
            and (self.finished_after is None or (finished is not None and finished > self.finished_after))
            and (self.finished_before is None or (finished is not None and finished < self.finished_before))
            and (not self.searches_text or all(words.occur_in(record) for words in self.words()))
        )


class DueRecords(Struct, frozen=True):
    """
    The due records of one queue, which may be claimed now.

    Overdue records and records with a cancel request do not count; the records of a paused queue do.
    """

    number: int
    oldest: datetime
    """The moment since which the oldest of them has waited."""


class Statistics(Struct, frozen=True, kw_only=True):
    """The queue in numbers."""

    counts: Mapping[str, Mapping[TaskStatus, int]]
    """The number of records by queue and status, without zeros."""

    due: Mapping[str, DueRecords] = field(default_factory=dict[str, DueRecords])
    """The due records of each queue that has some."""

    age: float = 0.0
    """How many seconds ago the records were counted: a store keeps a slow count for a while."""

    @property
    def oldest_due(self) -> datetime | None:
        """The moment since which the oldest due record of all queues has waited; None when no record is due."""
        return min((each.oldest for each in self.due.values()), default=None)

    def total(self, status: TaskStatus) -> int:
        """Count the records of a status over all queues."""
        return sum(by_status.get(status, 0) for by_status in self.counts.values())


class WorkerInfo(Struct, frozen=True, kw_only=True):
    """One worker as the others see it."""

    id: str
    queues: tuple[str, ...] | None = None
    execution_backends: tuple[str, ...] = ()
    concurrency: int = 0
    """How many records it runs at once; 0 for a process that runs them inline, and for a worker that has given up."""

    started_at: datetime
    seen_at: datetime

    @property
    def has_given_up(self) -> bool:
        """Whether its claims have failed for ``heartbeat_timeout`` seconds, so that it has given up its records."""
        return bool(self.execution_backends) and not self.concurrency


class QueueState(Struct, frozen=True, kw_only=True):
    """The settings of a queue that change at run time."""

    paused: bool = False
    limits: Limits | None = None
    draining: datetime | None = None
    """Only records created before this moment are claimed; None for all."""


class Action(Struct, frozen=True):
    """A change that a person has made."""

    at: datetime
    actor: str
    """Who: the user of a web application, or user and host of a command."""

    action: str
    """What was done, as in ``"pause queue"``."""

    subject: str
    """The name or the id of what was changed."""


class Migration(Struct, frozen=True, kw_only=True):
    """One numbered step of the schema of a database."""

    number: int
    name: str
    sql: str
    """The statements of the step, and the note that it ran; run them in one transaction."""


class Backup(Struct, frozen=True, kw_only=True):
    """A copy of all records, which was checked."""

    path: Path
    records: int
    size: int
    """The size of the file in bytes."""
