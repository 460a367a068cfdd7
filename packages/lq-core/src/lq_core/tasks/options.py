"""The options of a task: how its calls are queued and run."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias, TypedDict, cast
from uuid import UUID

import msgspec
from msgspec import Meta

from lq_core.foundation.clock import in_utc
from lq_core.foundation.duration import Duration, seconds
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.quick_enum import quick_enum
from lq_core.foundation.validation import (
    LARGEST_NUMBER,
    Count,
    CountOrZero,
    Name,
    PositiveSeconds,
    Seconds,
    Storable,
    refusal,
    unknown_name,
)
from lq_core.records.record import DEFAULT_QUEUE, AfterFailure, Backoff, KeyScope, Limits, OnLoss, RateLimit
from lq_core.tasks.retry_options import backoff_from, exceptions_from

FIRST_YEAR: Final = 2
LAST_YEAR: Final = 9998
"""Every time zone can show the moments of these years, and no database reads one as infinity."""


@quick_enum
class OnConflict(StrEnum):
    """What an enqueue does when another record holds the key."""

    RETURN_EXISTING = "return_existing"
    """Answer with that record."""

    REJECT = "reject"
    """Refuse the call."""

    REPLACE = "replace"
    """Give that record the new arguments, priority and metadata, if it has not been started."""

    DEBOUNCE = "debounce"
    """Replace, and give it the new times as well: it starts after a time without new calls."""

    @property
    def amends(self) -> bool:
        """Whether the holder is changed."""
        return self not in (OnConflict.RETURN_EXISTING, OnConflict.REJECT)


Moment: TypeAlias = Annotated[
    datetime, Meta(tz=True, description="a moment with a time zone, such as datetime.now(UTC) + timedelta(hours=1)")
]
_Priority: TypeAlias = Annotated[
    int,
    Meta(
        ge=-LARGEST_NUMBER, le=LARGEST_NUMBER, description=f"a whole number from -{LARGEST_NUMBER} to {LARGEST_NUMBER}"
    ),
]
_Metadata: TypeAlias = Annotated[
    dict[Storable, Storable], Meta(description="a dict from text to text, without NUL and lone surrogates")
]
_KeyFrom: TypeAlias = Annotated[tuple[str, ...], Meta(min_length=1, description="the names of some parameters")]


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a task's calls are queued and run. Durations are stored in seconds."""

    queue: Name = DEFAULT_QUEUE
    priority: _Priority = 0
    """Larger numbers are claimed first."""

    delay: Seconds = 0.0
    """Do not start before this many seconds after the enqueue."""

    scheduled_at: Moment | None = None
    """Do not start before this moment; it must be aware."""

    expires_in: PositiveSeconds | None = None
    """Expire when not started within this many seconds after the enqueue."""

    expires_at: Moment | None = None
    """Expire when not started before this moment; it must be aware."""

    key: Name | None = None
    """While a record holds this key, no other one with the same key is created; see *on_conflict*."""

    key_from: _KeyFrom | None = None
    """Make the key from the task's name and the arguments of these parameters, with their defaults."""

    key_scope: Annotated[KeyScope, Meta(description="'started' or 'ended'")] | None = None
    """How long a record holds its key: until it is ``"started"``, or has ``"ended"`` (None)."""

    key_window: PositiveSeconds | None = None
    """Hold the key for this many seconds after the enqueue, even if the record ends before."""

    on_conflict: OnConflict = OnConflict.RETURN_EXISTING
    """What to do when another record holds the key."""

    concurrency_key: Name | None = None
    """Calls with the same concurrency key share *concurrency* and *rate*, also across tasks and queues."""

    concurrency: Count | None = None
    """How many calls with this concurrency key run at once, over all workers; None for 1, with a rate for no limit."""

    rate: Annotated[RateLimit, Meta(description="a RateLimit, such as RateLimit(5, per=60)")] | None = None
    """How many calls with this concurrency key start in a span of time, over all workers; None for no limit."""

    fairness_key: Name | None = None
    """Among waiting calls of equal priority in one queue, those with different fairness keys take turns."""

    fairness_key_from: _KeyFrom | None = None
    """Make the fairness key from the arguments of these parameters, with their defaults."""

    retries: CountOrZero = 0
    """How many failures are followed by another attempt."""

    backoff: Backoff | str | None = None
    """
    How long to wait before a retry: a Backoff, fixed seconds, or a function of a module from the number of failures to
    seconds (kept by its import path); None for the default backoff.
    """

    retry_on: tuple[str, ...] | None = None
    """Retry after these exceptions only, subclasses too; None for all. Given as classes, kept by name."""

    never_retry_on: tuple[str, ...] | None = None
    """Do not retry after these exceptions, subclasses too, despite *retry_on*. Given as classes, kept by name."""

    on_loss: OnLoss = OnLoss.RETRY
    """
    What happens when a start is lost because the worker dies, or is stopped before the function has ended:
    ``"retry"`` starts the task again without spending a retry, ``"fail"`` fails the record.
    """

    max_losses: CountOrZero | None = None
    """How many losses are followed by another start; None for 5. A record that is lost again fails."""

    timeout: PositiveSeconds | None = None
    """Seconds that one attempt may take; None for no limit."""

    execution_backend: str | None = None
    """Where the calls run; None for ``QueueConfig.execution_backend``."""

    execution_profile: Name | None = None

    after: tuple[UUID, ...] = ()
    """Do not start before these records have ended; given as results, calls or ids."""

    after_failure: AfterFailure = AfterFailure.CANCEL
    """What happens to a call when one of those in *after* does not complete: ``"cancel"`` or ``"run"``."""

    metadata: _Metadata = msgspec.field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self._check_times()
        self._check_key()
        if own := [name for name in self.metadata if name.startswith("lq.")]:
            raise ConfigurationError(
                f"metadata has the name {own[0]!r}; names that begin with lq. are reserved, so use another one."
            )
        if both := set(self.retry_on or ()) & set(self.never_retry_on or ()):
            raise ConfigurationError(f"retry_on and never_retry_on both name {', '.join(sorted(both))}; leave one out.")
        if self.on_loss is OnLoss.FAIL and self.max_losses is not None:
            raise ConfigurationError(
                f"on_loss is 'fail' and max_losses is {self.max_losses}; give one of them: on_loss='retry', or "
                "max_losses=None."
            )
        if (limits := self.limits) is not None:
            limits.check()

    @property
    def limits(self) -> Limits | None:
        """What the calls with this concurrency key share; None without a key."""
        concurrency, rate = self.concurrency, self.rate
        if self.concurrency_key is not None:
            return Limits(concurrency=1 if concurrency is rate is None else concurrency, rate=rate)
        if concurrency is rate is None:
            return None
        name, value = ("rate", rate) if concurrency is None else ("concurrency", concurrency)
        raise ConfigurationError(
            f"{name} is {value!r}, and there is no concurrency_key; say which calls share this limit. "
            "A queue is limited by QueueConfig(queue_limits=...) or QueueService.limit_queue()."
        )

    def _check_key(self) -> None:
        if self.fairness_key is not None and self.fairness_key_from is not None:
            raise ConfigurationError(
                f"fairness_key is {self.fairness_key!r} and fairness_key_from is {self.fairness_key_from!r}; "
                "give one of them, and None for the other."
            )
        if self.key is not None and self.key_from is not None:
            raise ConfigurationError(
                f"key is {self.key!r} and key_from is {self.key_from!r}; give one of them, and None for the other."
            )
        if self.key_scope is KeyScope.WINDOW:
            raise ConfigurationError("key_scope is 'window'; give its length in seconds instead: key_window=60.")
        if self.key_scope is not None and self.key_window is not None:
            raise ConfigurationError(
                f"key_scope is {self.key_scope.value!r} and key_window is {self.key_window!r}; "
                "give one of them, and None for the other."
            )
        if self.on_conflict.amends and self.after:
            raise ConfigurationError(
                f"on_conflict is {self.on_conflict.value!r} and after names records; "
                "a record that already waits cannot get other predecessors."
            )

    def _check_times(self) -> None:
        for name in ("scheduled_at", "expires_at"):
            value = getattr(self, name)
            if value is not None and not FIRST_YEAR <= value.year <= LAST_YEAR:
                raise ConfigurationError(
                    f"{name} is {value}; it must lie in the years {FIRST_YEAR} to {LAST_YEAR}, or be None."
                )
        for first, second in (("delay", "scheduled_at"), ("expires_in", "expires_at")):
            if (one := getattr(self, first)) and (other := getattr(self, second)):
                raise ConfigurationError(f"{first} is {one} and {second} is {other}; give one of them.")
        for start, end in (("delay", "expires_in"), ("scheduled_at", "expires_at")):
            starts, ends = getattr(self, start), getattr(self, end)
            if starts and ends is not None and ends <= starts:
                raise ConfigurationError(
                    f"{start} is {starts}, and {end} is {ends}: it would expire before it may start."
                )


class Enqueued(Protocol):
    """A predecessor of a call: a result, a record, or a call that is enqueued together with it."""

    @property
    def id(self) -> UUID:
        """The id of its record."""
        ...


class OptionArguments(TypedDict, total=False):
    """The options of ``@task(...)`` and ``task.using(...)`` as keywords; TaskOptions says what they mean."""

    queue: str
    priority: int
    delay: Duration
    scheduled_at: datetime | None
    expires_in: Duration | None
    expires_at: datetime | None
    key: str | None
    key_from: Sequence[str] | None
    key_scope: KeyScope | Literal["started", "ended"] | None
    key_window: Duration | None
    on_conflict: OnConflict | Literal["return_existing", "reject", "replace", "debounce"]
    concurrency_key: str | None
    concurrency: int | None
    rate: RateLimit | None
    fairness_key: str | None
    fairness_key_from: Sequence[str] | None
    retries: int
    backoff: Backoff | Duration | Callable[[int], Duration] | None
    retry_on: Sequence[type[BaseException]] | None
    never_retry_on: Sequence[type[BaseException]] | None
    on_loss: OnLoss | Literal["retry", "fail"]
    max_losses: int | None
    timeout: Duration | None
    execution_backend: str | None
    execution_profile: str | None
    after: Sequence[Enqueued | UUID]
    after_failure: AfterFailure | Literal["cancel", "run"]
    metadata: dict[str, str]


OPTIONS: Final = frozenset(TaskOptions.__struct_fields__)
"""The names of the options."""


def change_options(options: TaskOptions, changes: Mapping[str, object], *, beside: Sequence[str] = ()) -> TaskOptions:
    """
    Make options with changes. Raises ConfigurationError, which names the option and the value.

    *beside* are other names that are valid in the same place.
    """
    for name in changes:
        if name not in TaskOptions.__struct_fields__:
            raise unknown_name("task option", name, (*beside, *TaskOptions.__struct_fields__))
    read = {name: _READ[name](value) if name in _READ else value for name, value in changes.items()}
    try:
        return msgspec.convert({**msgspec.structs.asdict(options), **read}, TaskOptions)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ConfigurationError):
            raise error.__cause__ from None
        raise refusal(TaskOptions, error, changes) from None


def _moment(name: str, value: object) -> object:
    """Convert a moment to UTC; other values, and years that are refused, stay as they are."""
    if isinstance(value, datetime) and FIRST_YEAR <= value.year <= LAST_YEAR:
        return in_utc(name, value)
    return value


def without_key(options: TaskOptions) -> ConfigurationError:
    """Make the error for an option that needs a key, in a call without one."""
    wants = {"key_scope": options.key_scope, "key_window": options.key_window, "on_conflict": options.on_conflict}
    name, value = next(
        (name, value) for name, value in wants.items() if value not in {None, OnConflict.RETURN_EXISTING}
    )
    return ConfigurationError(f"{name} is {value!s}, and the call has no key; give key=... or key_from=(...).")


def _ids(before: object) -> tuple[UUID, ...]:
    if isinstance(before, Iterator):
        raise ConfigurationError(f"after is {before!r}, which can be read only once; make a list of it: list(...).")
    if not isinstance(before, Iterable) or isinstance(before, (str, bytes)):
        raise ConfigurationError(f"after is {before!r}; it must be a list of results, calls or ids: after=[result].")
    ids: dict[UUID, None] = {}
    for one in cast("Iterable[object]", before):
        found = one if isinstance(one, UUID) else getattr(one, "id", None)
        if not isinstance(found, UUID):
            raise ConfigurationError(f"after names {one!r}; it takes results of an enqueue, calls, and ids of records.")
        ids[found] = None
    return tuple(ids)


_READ: Final[Mapping[str, Callable[[Any], object]]] = {
    **dict.fromkeys(("delay", "expires_in", "key_window", "timeout"), seconds),
    "after": _ids,
    "backoff": backoff_from,
    "retry_on": partial(exceptions_from, "retry_on"),
    "never_retry_on": partial(exceptions_from, "never_retry_on"),
    "scheduled_at": partial(_moment, "scheduled_at"),
    "expires_at": partial(_moment, "expires_at"),
}
"""Options that are stored in another form than users give them."""
