"""
One call of one task, as a value: what was asked, how far it has come, and what came of it.

Nobody changes a record. A step in its life (:mod:`lq_core.lifecycle`) makes a new one.
"""

import re
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Final, TypeAlias
from uuid import UUID

from msgspec import Struct, field

from lq_core.clock import LONGEST_WAIT
from lq_core.errors import ConfigurationError

LARGEST_NUMBER: Final = 2**31 - 1
"""What every database has room for."""

NAME_LIMIT: Final = 255
"""The longest key, and the longest name of a queue, in characters: what every database has room for in an index."""

UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
"""A character that not every database keeps: NUL, or half of a surrogate pair."""

DEFAULT_QUEUE = "default"
"""The queue of a task that names none."""


Place: TypeAlias = tuple[UUID, int]
"""One hold on one record: its id and epoch."""


class TaskStatus(StrEnum):
    """Where a record stands in its life; which step may follow which is said in ``lq_core.lifecycle.MOVES``."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class TaskFailure(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """Why an attempt did not end well."""

    type: str
    """The class of the exception, such as ``"ValueError"``, or the kind of loss, such as ``"WorkerLost"``."""

    message: str

    traceback: str = ""
    """The formatted traceback, cut in the middle when it is long; empty when there was none."""


class HistoryEntry(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """One event in a record's life that its other fields do not tell."""

    at: datetime
    event: str
    """``retried``, ``failed``, ``lost``, ``interrupted``, ``snoozed``, ``cancelled``, ``log`` and the like."""

    attempt: int = 0
    """The attempt during which it happened; 0 before the first."""

    started_at: datetime | None = None
    """When the attempt had begun."""

    worker_id: str | None = None
    failure: TaskFailure | None = None
    message: str | None = None


class Progress(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """How far a running task has come, in the task's own units."""

    done: float
    total: float | None = None
    message: str | None = None


class Backoff(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """
    How long to wait before the next attempt: ``base * factor ** (failures - 1)`` seconds, at most *cap*.

    With *jitter* 0.25 the wait is drawn evenly from 75 % to 125 % of that. A *factor* of 1 is a fixed wait.
    """

    base: float = 5.0
    """Seconds before the first retry."""

    factor: float = 2.0
    cap: float = 3600.0
    """The longest wait in seconds, before jitter."""

    jitter: float = 0.25
    """The share of the wait that is random, from 0 to 1."""


class RetryRules(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """
    Which failures are followed by another attempt, and how long after.

    What is defined in Python is named by its import path.
    """

    only: tuple[str, ...] | None = None
    """Exception classes that are retried, subclasses too, such as ``"builtins.OSError"``; None for all."""

    never: tuple[str, ...] = ()
    """Exception classes that are not retried, subclasses too."""

    wait: str | None = None
    """The function that says how long to wait, such as ``"shop.tasks:patience"``; None for the backoff."""


class KeyScope(StrEnum):
    """How long a record holds its key."""

    STARTED = "started"
    """Until it is started."""

    ENDED = "ended"
    """Until it has ended."""

    WINDOW = "window"
    """Until ``key_until``, whatever becomes of the record."""


class RateLimit(Struct, gc=False, frozen=True, omit_defaults=True):
    """
    How many records may be started in a span of time: a bucket of tokens that fills up evenly.

    Raises ConfigurationError when it would never let anything start.
    """

    count: int
    per: float = 1.0
    """The span in seconds."""

    burst: int | None = None
    """How many may be started at once after a pause; None for *count*."""

    def __post_init__(self) -> None:
        check_count("count", self.count)
        if self.burst is not None:
            check_count("burst", self.burst)
        # Written so that it also refuses what is not a number.
        if not 0 < self.per <= LONGEST_WAIT:
            raise ConfigurationError(
                f"per is {self.per!r}; a rate counts by a span greater than 0, and at most {LONGEST_WAIT:g} seconds."
            )
        if self.per * (self.burst or self.count) / self.count > LONGEST_WAIT:
            raise ConfigurationError(
                f"burst is {self.burst!r}, which {self.count} per {self.per:g} s would not fill in a hundred years; "
                "give a smaller one."
            )


class Limits(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """What the records of one concurrency key, or of one queue, share. Raises ConfigurationError for a bad number."""

    concurrency: int | None = None
    """How many may run at once, over all workers; None for any number."""

    rate: RateLimit | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None:
            check_count("concurrency", self.concurrency)
        if not isinstance(self.rate, RateLimit | None):  # pyright: ignore[reportUnnecessaryIsInstance] -- not all check types
            raise ConfigurationError(f"rate is {self.rate!r}; it must be a RateLimit, such as RateLimit(5, per=60).")


class AfterFailure(StrEnum):
    """What becomes of a record when one that it comes after does not complete."""

    CANCEL = "cancel"
    RUN = "run"


class Dependencies(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """The records that have to end before this one starts."""

    ids: tuple[UUID, ...]
    on_failure: AfterFailure = AfterFailure.CANCEL


class QueuedTaskRecord(Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One call of one task, as every queue backend keeps it.

    A record is a value. A step in its life makes a new record, and a queue backend
    swaps the old one for the new. Moments are aware and in UTC; durations are in seconds.
    """

    id: UUID
    """A UUID of version 7: ids sort by the time of enqueue."""

    task_name: str
    """The registered name of the task, such as ``"mail.send"``."""

    arguments: str = "{}"
    """The arguments as a JSON object, by parameter name."""

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    """Larger numbers are claimed first; equal ones in the order of ``scheduled_at``, then of ``id``."""

    execution_backend: str = "local"
    execution_profile: str | None = None
    """What the execution backend makes of it: for Cloud Run, the profile that names the job."""

    key: str | None = None
    """While a record holds a key, no second one with the same key is enqueued."""

    key_scope: KeyScope = KeyScope.ENDED
    key_until: datetime | None = None
    """Until when a key of the scope ``window`` is held."""

    key_released: bool = False
    """True once the record holds its key no more."""

    retries: int = 0
    """The retry budget: how many failures are followed by another attempt."""

    backoff: Backoff | None = None
    """How long to wait before a retry; None for the task's own, or the house's default."""

    retry_rules: RetryRules | None = None
    """Which failures are retried; None for all."""

    timeout: float | None = None
    """Seconds that one attempt may take; None for no limit."""

    expires_at: datetime | None = None
    """A record that has not been started by then expires."""

    schedule: str | None = None
    """The name of the schedule that enqueued it."""

    concurrency_key: str | None = None
    """Records with the same one share the *limits*."""

    limits: Limits | None = None
    after: Dependencies | None = None
    blocked: bool = False
    """True while it waits for records that it comes after; a blocked record is not claimed."""

    metadata: dict[str, str] = field(default_factory=dict[str, str])
    """What travels with the call, such as a trace context; never given to the task as an argument."""

    created_at: datetime
    scheduled_at: datetime
    """Not claimed before this moment."""

    status: TaskStatus = TaskStatus.PENDING
    epoch: int = 0
    """Rises at every change of who may write; a write on behalf of an owner matches it or is refused."""

    attempt: int = 0
    """How often the task has been started; 0 until the first start."""

    retry_count: int = 0
    """How much of the retry budget is spent; only failures spend it."""

    losses: int = 0
    """How often a start was lost: a worker that died, or an execution that never began."""

    worker_id: str | None = None
    """Who is running the task, while it is running."""

    execution_ref: str | None = None
    """The name of the external execution, while there is one."""

    log_url: str | None = None
    """Where the logs of the last external execution are read."""

    cancel_requested: bool = False
    """True when a running task has been asked to stop and has not ended yet."""

    started_at: datetime | None = None
    """When the last attempt began; for a dispatched record, when it was handed over."""

    finished_at: datetime | None = None
    progress: Progress | None = None
    result: str | None = None
    """What the task returned, as JSON; None until it has completed."""

    error: TaskFailure | None = None
    """Why the last attempt that failed did; kept while a retry is waiting."""

    history: tuple[HistoryEntry, ...] = ()
    """The newest events that no other field tells, oldest first; bounded."""

    @property
    def has_ended(self) -> bool:
        """Whether the record is terminal."""
        return self.status in TERMINAL

    @property
    def is_untouched(self) -> bool:
        """Whether nothing has happened to the record since it was made."""
        return self.status is TaskStatus.PENDING and not any(_PAST(self))


_PAST = attrgetter(
    *("epoch", "attempt", "retry_count", "losses", "worker_id", "execution_ref", "log_url", "cancel_requested"),
    *("started_at", "finished_at", "progress", "result", "error", "history"),
)

TERMINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED})
"""The statuses that no step leaves, except a retry by hand."""

OWNED = frozenset({TaskStatus.DISPATCHED, TaskStatus.RUNNING})
"""The statuses in which somebody else than the queue backend works on the record."""


def check_name(what: str, name: str) -> None:
    """Raise ConfigurationError for a name that not every queue backend can keep."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
        raise ConfigurationError(f"The {what} is {name!r:.80}; it must be text.")
    if not 0 < len(name) <= NAME_LIMIT:
        raise ConfigurationError(f"The {what} {name!r:.80} has {len(name)} characters; it takes 1 to {NAME_LIMIT}.")
    if UNSTORABLE.search(name):
        raise ConfigurationError(
            f"The {what} {name!r} has a character that no database keeps: NUL, or a lone surrogate."
        )


def check_count(name: str, value: object) -> None:
    """Raise ConfigurationError for what is no number of things."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST_NUMBER:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number from 1 to {LARGEST_NUMBER}.")
