"""Schedules: calls that lq enqueues repeatedly, declared in code beside the tasks."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias, TypeVar, cast

from msgspec import Meta, Struct

from lq_core.foundation.duration import Duration, seconds
from lq_core.foundation.errors import (
    ConfigurationError,
    DuplicateScheduleError,
    TaskDefinitionError,
    UnknownScheduleError,
)
from lq_core.foundation.validation import NAME_LIMIT, check, wrong
from lq_core.schedules.cron_plan import Plan
from lq_core.tasks.call import TaskCall
from lq_core.tasks.options import OnConflict

Result = TypeVar("Result")

CatchUp: TypeAlias = Literal["skip", "one", "all"]
"""Which missed due times are made up for: none, the newest, or all of them up to a limit."""

CATCH_UP_LIMIT: Final = 10_000
"""The largest ``catch_up_limit``."""

USUAL_LIMIT: Final = 100

_Name: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=NAME_LIMIT, description=f"printable text of 1 to {NAME_LIMIT} characters")
]
_Bound: TypeAlias = Annotated[
    int, Meta(ge=1, le=CATCH_UP_LIMIT, description=f"a whole number from 1 to {CATCH_UP_LIMIT}")
]


class Schedule(Struct, frozen=True, kw_only=True):
    """One declared schedule, made by :func:`schedule`."""

    name: _Name
    call: TaskCall[object]
    plan: Plan
    catch_up: CatchUp = "one"
    catch_up_limit: _Bound = USUAL_LIMIT

    def __post_init__(self) -> None:
        _check_call(self.call)
        check(self)
        if not self.name.isprintable():
            raise wrong(Schedule, "name", self.name)
        self.plan.check()
        if self.catch_up != "all" and self.catch_up_limit != USUAL_LIMIT:
            raise ConfigurationError(
                f"catch_up_limit is {self.catch_up_limit!r} and catch_up is {self.catch_up!r}; only 'all' has a limit."
            )

    @property
    def facts(self) -> tuple[object, ...]:
        """Everything that it declares; equal for equal declarations."""
        call = self.call
        return self.plan, self.catch_up, self.catch_up_limit, call.task_name, call.arguments, call.options


SCHEDULES: Final[dict[str, Schedule]] = {}
"""The schedules that are declared in this process, by name; a test removes its own."""


def schedule(
    call: TaskCall[Result],
    *,
    name: str,
    cron: str | None = None,
    every: Duration | None = None,
    timezone: str = "UTC",
    catch_up: CatchUp = "one",
    catch_up_limit: int = USUAL_LIMIT,
) -> Schedule:
    """
    Let the workers enqueue a call at every due time: ``schedule(report.call(), name="nightly", cron="0 3 * * *")``.

    *cron* has five fields, *every* is seconds or a timedelta, at least 1 second;
    :class:`lq_core.schedules.cron_plan.Plan` reads either on the clock of *timezone*. A due time is missed if no worker
    handles it within a minute, or before the next one.
    *catch_up* selects the missed due times that are made up for: none (``skip``), the newest (``one``), or ``all`` of
    them, at most *catch_up_limit*.

    Raises ConfigurationError for an option that cannot work, DuplicateScheduleError if another schedule has the name.
    """
    plan = Plan(cron=cron, every=seconds(every), timezone=timezone)
    anything = cast("TaskCall[object]", call)
    made = Schedule(name=name, call=anything, plan=plan, catch_up=catch_up, catch_up_limit=catch_up_limit)
    known = SCHEDULES.get(name)
    if known is not None and known.facts != made.facts:
        raise DuplicateScheduleError(name)
    SCHEDULES[name] = made
    return made


def find_schedule(name: str) -> Schedule:
    """Find a schedule of this process. Raises UnknownScheduleError, which suggests the closest name."""
    try:
        return SCHEDULES[name]
    except KeyError:
        raise UnknownScheduleError(name, tuple(SCHEDULES)) from None


def known_schedules() -> Mapping[str, Schedule]:
    """Return the schedules that are declared in this process, by name."""
    return dict(sorted(SCHEDULES.items()))


def _check_call(call: object) -> None:
    if not isinstance(call, TaskCall):
        raise TaskDefinitionError(f"{call!r} is not a call of a task. Make one with: task.call(...).")
    for option in ("delay", "scheduled_at", "expires_at", "after"):
        if value := getattr(call.options, option):
            raise ConfigurationError(
                f"{option} is {value!r} in the call of a schedule, but the schedule sets the times. Leave it out."
            )
    if call.key is not None and call.options.on_conflict is not OnConflict.RETURN_EXISTING:
        raise ConfigurationError(
            f"on_conflict is {call.options.on_conflict.value!r} in the call of a schedule, but a schedule makes no "
            "record while another one holds the key, and never changes one. Leave it out."
        )
