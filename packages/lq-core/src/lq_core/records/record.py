"""
A record: one call of one task, as a value, with its status, its history and its result.

A record never changes. A step of :mod:`lq_core.records.lifecycle` makes a new one.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from lq_core.foundation.clock import LONGEST_WAIT
from lq_core.foundation.duration import Duration, seconds
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.quick_enum import quick_enum
from lq_core.foundation.validation import LARGEST_NUMBER, Count, PositiveSeconds, Seconds, check, wrong

DEFAULT_QUEUE = "default"
"""The queue of a task without the option *queue*."""

FAIRNESS_KEY = "lq.fairness_key"
"""The key in the metadata of a record that has its fairness key."""

Fence: TypeAlias = tuple[UUID, int]
"""The right to write to a record: its id and epoch."""


@quick_enum
class TaskStatus(StrEnum):
    """The status of a record; ``lq_core.records.lifecycle.MOVES`` lists which may follow which."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class TaskFailure(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """Why an attempt failed or was lost."""

    type: str
    """The class of the exception, as in ``"ValueError"``, or the kind of loss, as in ``"WorkerLost"``."""

    message: str

    traceback: str = ""
    """The formatted traceback, cut in the middle when it is long; empty when there was none."""


class HistoryEntry(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """One event of a record that its other fields do not show."""

    at: datetime
    event: str
    """``retried``, ``failed``, ``lost``, ``interrupted``, ``snoozed``, ``cancelled``, ``log``, and others."""

    attempt: int = 0
    """The attempt during which it happened; 0 before the first."""

    started_at: datetime | None = None
    """When that attempt began."""

    worker_id: str | None = None
    failure: TaskFailure | None = None
    message: str | None = None
    value: str | None = None
    """The result of a step that has completed, or the value of a signal, as JSON; ``message`` is its name."""


class Progress(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """How far a running task is, in units of its own."""

    done: float
    total: float | None = None
    message: str | None = None


class Backoff(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """
    How long to wait before the next attempt: ``base * factor ** (failures - 1)`` seconds, at most *cap*.

    A *jitter* of 0.25 draws the wait evenly from 75 % to 125 % of that. A *factor* of 1 is a fixed wait.
    """

    base: Seconds | timedelta = 5.0
    """Seconds before the first retry; a timedelta is stored as its seconds."""

    factor: Annotated[float, Meta(gt=0, le=LARGEST_NUMBER, description="a number greater than 0")] = 2.0
    cap: Seconds | timedelta = 3600.0
    """The longest wait in seconds, before jitter; a timedelta is stored as its seconds."""

    jitter: Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")] = 0.25
    """The share of the wait that is random, from 0 to 1."""

    def __post_init__(self) -> None:
        _store_seconds(self, base=self.base, cap=self.cap)


@quick_enum
class OnLoss(StrEnum):
    """What happens to a record whose start is lost: its worker dies, or stops before the function has ended."""

    RETRY = "retry"
    """Start it again, up to a number of losses."""

    FAIL = "fail"
    """Fail it, because the function may have done its work."""


class RetryRules(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """Which failures and losses are retried, and after how long; classes and functions are stored by import path."""

    only: tuple[str, ...] | None = None
    """Exception classes that are retried, subclasses too, as in ``"builtins.OSError"``; None for all."""

    never: tuple[str, ...] = ()
    """Exception classes that are not retried, subclasses too."""

    wait: str | None = None
    """The function that returns the wait in seconds, as in ``"shop.tasks:patience"``; None for the backoff."""

    on_loss: OnLoss = OnLoss.RETRY
    max_losses: int = 5
    """How many losses are followed by another start."""


@quick_enum
class KeyScope(StrEnum):
    """How long a record holds its key."""

    STARTED = "started"
    """Until it is started."""

    ENDED = "ended"
    """Until it has ended."""

    WINDOW = "window"
    """Until ``key_until``, even if the record ends before."""


class RateLimit(Struct, gc=False, frozen=True, omit_defaults=True):
    """
    How many records may start in a span of time: a bucket of tokens that fills up evenly.

    lq checks it where you use it, and raises ConfigurationError if it would never let a record start.
    """

    count: Count
    per: PositiveSeconds | timedelta = 1.0
    """The span in seconds; a timedelta is stored as its seconds."""

    burst: Count | None = None
    """How many may be started at once after a pause; None for *count*."""

    def __post_init__(self) -> None:
        _store_seconds(self, per=self.per)

    def check(self) -> None:
        """Raise ConfigurationError, with the value and the rule, if this limit cannot work."""
        check(self)
        span = seconds(self.per)
        if span * (self.burst or self.count) / self.count > LONGEST_WAIT:
            raise ConfigurationError(
                f"burst is {self.burst!r}, which {self.count} per {span:g} s would not fill in a hundred years; "
                "give a smaller one."
            )


class Limits(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """The limits that the records of one concurrency key, or of one queue, share."""

    concurrency: Count | None = None
    """How many may run at once, over all workers; None for any number."""

    rate: Annotated[RateLimit, Meta(description="a RateLimit, such as RateLimit(5, per=60)")] | None = None
    """How many may start in a span of time, over all workers; None for any number."""

    def check(self) -> None:
        """Raise ConfigurationError, with the value and the rule, if these limits cannot work."""
        check(self)
        if self.rate is None:
            return
        if not isinstance(self.rate, RateLimit):  # pyright: ignore[reportUnnecessaryIsInstance] -- a dict passes check(self)
            raise wrong(Limits, "rate", self.rate)
        self.rate.check()


class AfterFailure(StrEnum):
    """What happens to a record when one of its predecessors does not complete."""

    CANCEL = "cancel"
    RUN = "run"


class Dependencies(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """The predecessors of a record, which must end before it starts."""

    ids: tuple[UUID, ...]
    on_failure: AfterFailure = AfterFailure.CANCEL


class QueuedTaskRecord(Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One call of one task, as every queue backend stores it. Moments are aware and in UTC; durations are in seconds.

    A record is a value: a step of its life makes a new record, and a queue backend swaps the old one for the new.
    """

    id: UUID
    """A UUID of version 7: ids sort by the time of enqueue."""

    task_name: str
    """The registered name of the task, as in ``"mail.send"``."""

    arguments: str = "{}"
    """The arguments as a JSON object, by parameter name."""

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    """Larger numbers are claimed first; equal numbers in the order of ``scheduled_at``, then of ``id``."""

    execution_backend: str = "local"
    execution_profile: str | None = None
    """A choice for the execution backend: for Cloud Run, the profile that names the job."""

    key: str | None = None
    """While a record holds a key, no second record with this key is enqueued."""

    key_scope: KeyScope = KeyScope.ENDED
    key_until: datetime | None = None
    """The end of the scope ``window``."""

    key_released: bool = False
    """Whether the record no longer holds its key."""

    retries: int = 0
    """The retry budget: how many failures are retried."""

    backoff: Backoff | None = None
    """How long to wait before a retry; None for the default backoff."""

    retry_rules: RetryRules | None = None
    """Which failures and losses are retried; None for all failures, and for five losses."""

    timeout: float | None = None
    """Seconds that one attempt may take; None for no limit."""

    expires_at: datetime | None = None
    """A record that was not started by then expires."""

    schedule: str | None = None
    """The name of the schedule that enqueued it."""

    concurrency_key: str | None = None
    """Records with the same key share the *limits*."""

    limits: Limits | None = None
    after: Dependencies | None = None
    blocked: bool = False
    """Whether it waits for its predecessors; a blocked record is not claimed."""

    metadata: dict[str, str] = field(default_factory=dict[str, str])
    """Data that travels with the call, as a trace context does; the task does not get it as an argument."""

    created_at: datetime
    scheduled_at: datetime
    """
    Not claimed before this moment. Once a record with a fairness key is due, this is its turn, which may be earlier.
    """

    status: TaskStatus = TaskStatus.PENDING
    epoch: int = 0
    """Rises whenever the right to write changes hands; a write of an owner must match it."""

    attempt: int = 0
    """How often the task has been started; 0 until the first start."""

    retry_count: int = 0
    """How many retries are spent; only failures spend them."""

    losses: int = 0
    """How often a start was lost: a worker that died, or an execution that never began."""

    worker_id: str | None = None
    """The worker that runs the task, while it runs."""

    execution_ref: str | None = None
    """The name of the external execution, while it exists."""

    log_url: str | None = None
    """The address of the logs of the last external execution."""

    cancel_requested: bool = False
    """True when a running task has been asked to stop and has not ended yet."""

    started_at: datetime | None = None
    """When the last attempt began; for a dispatched record, when it was dispatched."""

    finished_at: datetime | None = None
    progress: Progress | None = None
    result: str | None = None
    """The result of the task as JSON; None until it has completed."""

    error: TaskFailure | None = None
    """The failure of the last failed attempt; kept while a retry waits."""

    history: tuple[HistoryEntry, ...] = ()
    """The newest events that no other field shows, oldest first; bounded."""

    @property
    def fairness_key(self) -> str | None:
        """Among records of equal priority, those with different fairness keys take turns."""
        return self.metadata.get(FAIRNESS_KEY)

    @property
    def has_ended(self) -> bool:
        """Whether the record is terminal."""
        return self.status in TERMINAL

    @property
    def is_untouched(self) -> bool:
        """Whether nothing has happened to the record since it was enqueued."""
        return self.status is TaskStatus.PENDING and not any(_PAST(self))


_PAST = attrgetter(
    *("epoch", "attempt", "retry_count", "losses", "worker_id", "execution_ref", "log_url", "cancel_requested"),
    *("started_at", "finished_at", "progress", "result", "error", "history"),
)

TERMINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED})
"""The statuses of ended records; only a retry by hand leaves them."""

OWNED = frozenset({TaskStatus.DISPATCHED, TaskStatus.RUNNING})
"""The statuses of records that have an owner."""


def _store_seconds(struct: Struct, **durations: Duration) -> None:
    for name, value in durations.items():
        if isinstance(value, timedelta):
            force_setattr(struct, name, seconds(value))
