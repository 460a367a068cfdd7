"""How the calls of a task are queued and run: options, checked when they are given."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from typing import Final, Literal, Protocol, TypedDict, cast
from uuid import UUID

import msgspec

from lq_core.clock import LONGEST_WAIT
from lq_core.errors import ConfigurationError
from lq_core.record import (
    DEFAULT_QUEUE,
    LARGEST_NUMBER,
    UNSTORABLE,
    AfterFailure,
    Backoff,
    KeyScope,
    Limits,
    RateLimit,
    check_name,
)
from lq_core.retry_options import backoff_from, check_retries, exceptions_from

_EXCEPTIONS: Final = ("retry_on", "never_retry_on")

FIRST_YEAR: Final = 2
LAST_YEAR: Final = 9998
"""Moments in these years can be told in every time zone, and no database takes one for infinity."""


class OnConflict(StrEnum):
    """What an enqueue does when another record holds the key."""

    RETURN_EXISTING = "return_existing"
    """Answer with that record."""

    REJECT = "reject"
    """Refuse the call."""

    REPLACE = "replace"
    """Give that record the new arguments, priority and metadata, if it has not been started."""

    DEBOUNCE = "debounce"
    """Replace, and give it the new times as well: it starts once nobody has asked for a while."""

    @property
    def amends(self) -> bool:
        """Whether the holder is changed."""
        return self is not RETURN_EXISTING and self is not OnConflict.REJECT


RETURN_EXISTING: Final = OnConflict.RETURN_EXISTING
"""The default, at hand: before Python 3.12, looking up a member takes longer than any other step of an enqueue."""


_CHOICES: Final[Mapping[str, type[StrEnum]]] = {
    "key_scope": KeyScope,
    "on_conflict": OnConflict,
    "after_failure": AfterFailure,
}


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a task's calls are queued and run. Durations are in seconds."""

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    """Larger numbers are claimed first."""

    delay: float = 0.0
    """Do not start before this many seconds after the enqueue."""

    scheduled_at: datetime | None = None
    """Do not start before this moment; it must be aware."""

    expires_in: float | None = None
    """Expire when not started within this many seconds after the enqueue."""

    expires_at: datetime | None = None
    """Expire when not started before this moment; it must be aware."""

    key: str | None = None
    """While a record holds this key, no other one with the same key is created; see *on_conflict*."""

    key_from: tuple[str, ...] | None = None
    """Make the key of the task's name and of these parameters' arguments, defaults filled in."""

    key_scope: KeyScope | None = None
    """How long a record holds its key: until it is ``"started"``, or has ``"ended"`` (None)."""

    key_window: float | None = None
    """Hold the key for this many seconds from the enqueue on, whatever becomes of the record."""

    on_conflict: OnConflict = RETURN_EXISTING
    """What to do when another record holds the key."""

    concurrency_key: str | None = None
    """Calls with the same one, of whatever task and queue, share *concurrency* and *rate*."""

    concurrency: int | None = None
    """How many calls with this concurrency key run at once, over all workers; None for 1, or with a rate for any."""

    rate: RateLimit | None = None
    """How many calls with this concurrency key are started in a span of time, over all workers; None for any."""

    retries: int = 0
    """How many failures are followed by another attempt."""

    backoff: Backoff | str | None = None
    """
    How long to wait before a retry: a Backoff, fixed seconds, or a function of a module from the number of failures to
    seconds (kept by its import path); None for the house's default.
    """

    retry_on: tuple[str, ...] | None = None
    """Retry after these exceptions only, subclasses too; None for all. Given as classes, kept by name."""

    never_retry_on: tuple[str, ...] | None = None
    """Do not retry after these exceptions, subclasses too, whatever *retry_on* says. Given as classes, kept by name."""

    timeout: float | None = None
    """Seconds that one attempt may take; None for no limit."""

    execution_backend: str | None = None
    """Where the calls run; None for ``QueueConfig.execution_backend``."""

    execution_profile: str | None = None

    after: tuple[UUID, ...] = ()
    """Do not start before these records have ended; given as results, calls or ids."""

    after_failure: AfterFailure = AfterFailure.CANCEL
    """What becomes of a call when one of those in *after* does not complete: ``"cancel"`` or ``"run"``."""

    metadata: dict[str, str] = msgspec.field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self._check_times()
        self._check_names()
        self._check_key()
        check_retries(self.backoff, self.retry_on, self.never_retry_on)
        _ = self.limits
        self._check_numbers()

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

    def _check_names(self) -> None:
        for option in ("queue", "key", "concurrency_key", "execution_profile"):
            if (name := getattr(self, option)) is not None:
                check_name(option.replace("_", " "), name)
        for text in (*self.metadata, *self.metadata.values()):
            if UNSTORABLE.search(text):
                raise ConfigurationError(
                    f"The metadata {text!r} have a character that no database keeps: NUL, or a lone surrogate."
                )

    def _check_key(self) -> None:
        if self.key_from is not None and not self.key_from:
            raise ConfigurationError("key_from is (); name the parameters that make the key, or leave it out.")
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
                "a record that waits already cannot be made to wait for others."
            )

    def _check_numbers(self) -> None:
        for name in ("delay", "retries"):
            if (value := getattr(self, name)) < 0:
                raise ConfigurationError(f"{name} is {value!r}; it must not be negative.")
        for name in ("timeout", "expires_in", "key_window"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ConfigurationError(f"{name} is {value!r}; it must be greater than 0, or None.")
        for name in ("delay", "timeout", "expires_in", "key_window"):
            # Written so that it also refuses what is not a number.
            if (value := getattr(self, name)) is not None and not value <= LONGEST_WAIT:
                raise ConfigurationError(f"{name} is {value!r}; it must be at most {LONGEST_WAIT:g} seconds.")
        for name in ("priority", "retries"):
            if abs(value := getattr(self, name)) > LARGEST_NUMBER:
                raise ConfigurationError(f"{name} is {value!r}; it must be at most {LARGEST_NUMBER}.")

    def _check_times(self) -> None:
        for name in ("scheduled_at", "expires_at"):
            if (value := getattr(self, name)) is not None and value.tzinfo is None:
                raise ConfigurationError(
                    f"{name} is {value!r}, without a time zone; use datetime.now(UTC) or the like."
                )
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
    """What a call may come after: a result, a record, or a call that is enqueued together with it."""

    @property
    def id(self) -> UUID:
        """The id of its record."""
        ...


class OptionArguments(TypedDict, total=False):
    """The options of ``@task(...)`` and ``task.using(...)`` as keywords; TaskOptions says what they mean."""

    queue: str
    priority: int
    delay: float
    scheduled_at: datetime | None
    expires_in: float | None
    expires_at: datetime | None
    key: str | None
    key_from: Sequence[str] | None
    key_scope: KeyScope | Literal["started", "ended"] | None
    key_window: float | None
    on_conflict: OnConflict | Literal["return_existing", "reject", "replace", "debounce"]
    concurrency_key: str | None
    concurrency: int | None
    rate: RateLimit | None
    retries: int
    backoff: Backoff | float | Callable[[int], float] | None
    retry_on: Sequence[type[BaseException]] | None
    never_retry_on: Sequence[type[BaseException]] | None
    timeout: float | None
    execution_backend: str | None
    execution_profile: str | None
    after: Sequence[Enqueued | UUID]
    after_failure: AfterFailure | Literal["cancel", "run"]
    metadata: dict[str, str]


def change_options(options: TaskOptions, changes: Mapping[str, object], *, beside: Sequence[str] = ()) -> TaskOptions:
    """
    Make options with changes. Raises ConfigurationError, which names the option and the value.

    *beside* are the other names that may be given in the same place.
    """
    unknown = [name for name in changes if name not in TaskOptions.__struct_fields__]
    if unknown:
        names = (*beside, *TaskOptions.__struct_fields__)
        close = get_close_matches(unknown[0], names, n=2)
        advice = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"There are: {', '.join(names)}."
        raise ConfigurationError(f"There is no task option {unknown[0]!r}. {advice}")
    read = {"after": _ids, "backoff": backoff_from, **{name: partial(exceptions_from, name) for name in _EXCEPTIONS}}
    changes = {name: read[name](value) if name in read else value for name, value in changes.items()}
    try:
        return msgspec.convert({**msgspec.structs.asdict(options), **changes}, TaskOptions)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ConfigurationError):
            raise error.__cause__ from None
        _check_choices(changes)
        problem, _, place = str(error).partition(" - at `$.")
        named = place.rstrip("`").split("[")[0].split(".")[0]
        told = f"{named} is {changes[named]!r}" if named in changes else f"The options {changes!r} do not fit"
        raise ConfigurationError(f"{told}: {problem}.") from None


def _check_choices(changes: Mapping[str, object]) -> None:
    for name, kind in _CHOICES.items():
        choices = [choice.value for choice in kind if choice is not KeyScope.WINDOW]
        if name in changes and (value := changes[name]) not in (*choices, None):
            close = get_close_matches(str(value), choices, n=1)
            advice = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(f"{name} is {value!r}; it takes {', '.join(map(repr, choices))}.{advice}")
    if (rate := changes.get("rate")) is not None and not isinstance(rate, RateLimit):
        raise ConfigurationError(f"rate is {rate!r}; it must be a RateLimit, such as RateLimit(5, per=60).")


def _ids(before: object) -> tuple[UUID, ...]:
    if not isinstance(before, Iterable) or isinstance(before, (str, bytes)):
        raise ConfigurationError(f"after is {before!r}; it must be a list of results, calls or ids: after=[result].")
    ids: dict[UUID, None] = {}
    for one in cast("Iterable[object]", before):
        found = one if isinstance(one, UUID) else getattr(one, "id", None)
        if not isinstance(found, UUID):
            raise ConfigurationError(f"after names {one!r}; it takes results of an enqueue, calls, and ids of records.")
        ids[found] = None
    return tuple(ids)
