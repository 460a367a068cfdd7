"""Schedules: calls of tasks that are enqueued again and again, declared in code beside the tasks."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, TypeVar, cast, get_args

from msgspec import Struct

from lq_core.errors import ConfigurationError, DuplicateScheduleError, TaskDefinitionError, UnknownScheduleError
from lq_core.options import RETURN_EXISTING
from lq_core.plan import Plan
from lq_core.record import NAME_LIMIT
from lq_core.task import TaskCall

Result = TypeVar("Result")

CatchUp: TypeAlias = Literal["skip", "one", "all"]
"""What becomes of due times that were missed: none of them, the newest, or all of them up to a bound is made up for."""

CATCH_UP_LIMIT: Final = 10_000
"""The largest bound of due times that are made up for at once."""


USUAL_LIMIT: Final = 100


class Schedule(Struct, frozen=True, kw_only=True):
    """One declaration, made by :func:`schedule`."""

    name: str
    call: TaskCall[object]
    plan: Plan
    catch_up: CatchUp = "one"
    catch_up_limit: int = USUAL_LIMIT

    def __post_init__(self) -> None:
        _check_name(self.name)
        self.plan.check()
        _check_call(self.call)
        if self.catch_up not in get_args(CatchUp):
            raise ConfigurationError(f"catch_up is {self.catch_up!r}; it must be 'skip', 'one' or 'all'.")
        _check_limit(self.catch_up_limit)
        if self.catch_up != "all" and self.catch_up_limit != USUAL_LIMIT:
            raise ConfigurationError(
                f"catch_up_limit is {self.catch_up_limit!r} and catch_up is {self.catch_up!r}; only 'all' has a limit."
            )

    def says_the_same(self, other: "Schedule") -> bool:
        """Whether another declaration asks for the same."""
        mine, its = self.call, other.call
        return (self.name, self.plan, self.catch_up, self.catch_up_limit) == (
            *(other.name, other.plan, other.catch_up, other.catch_up_limit),
        ) and (mine.task_name, mine.arguments, mine.options) == (its.task_name, its.arguments, its.options)


SCHEDULES: Final[dict[str, Schedule]] = {}
"""What is declared in this process, by name; a test takes out what it has declared."""


def schedule(
    call: TaskCall[Result],
    *,
    name: str,
    cron: str | None = None,
    every: float | None = None,
    timezone: str = "UTC",
    catch_up: CatchUp = "one",
    catch_up_limit: int = USUAL_LIMIT,
) -> Schedule:
    """
    Let the workers enqueue a call at every due time: ``schedule(report.call(), name="nightly", cron="0 3 * * *")``.

    *cron* has five fields, *every* is in seconds and at least 1; either is read on the clock of *timezone*, as
    :class:`lq_core.plan.Plan` says. A due time is missed when no worker was there for longer than a minute, or when
    the next one has come by then: ``catch_up`` says whether none of those that were missed is made up for (``skip``),
    only the newest (``one``), or ``all`` of them, at most *catch_up_limit*.

    Raises ConfigurationError for an option that cannot work, DuplicateScheduleError when another schedule has the name.
    """
    plan = Plan(cron=cron, every=every, timezone=timezone)
    anything = cast("TaskCall[object]", call)
    made = Schedule(name=name, call=anything, plan=plan, catch_up=catch_up, catch_up_limit=catch_up_limit)
    known = SCHEDULES.get(name)
    if known is not None and not known.says_the_same(made):
        raise DuplicateScheduleError(name)
    SCHEDULES[name] = made
    return made


def find_schedule(name: str) -> Schedule:
    """Find a schedule that is declared in this process. Raises UnknownScheduleError, which names the closest one."""
    try:
        return SCHEDULES[name]
    except KeyError:
        raise UnknownScheduleError(name, SCHEDULES) from None


def known_schedules() -> Mapping[str, Schedule]:
    """Return the schedules that are declared in this process, by name."""
    return dict(sorted(SCHEDULES.items()))


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise ConfigurationError(f"The name of a schedule is {name!r}; it must be a text.")
    if not 0 < len(name) <= NAME_LIMIT:
        raise ConfigurationError(
            f"The name of a schedule, {name!r}, has {len(name)} characters; it takes 1 to {NAME_LIMIT}."
        )
    if not name.isprintable():
        raise ConfigurationError(f"The name of a schedule is {name!r}; it must be printable.")


def _check_call(call: object) -> None:
    if not isinstance(call, TaskCall):
        raise TaskDefinitionError(f"{call!r} is not a call of a task. Make one with: task.call(...).")
    for option in ("delay", "scheduled_at", "expires_at", "after"):
        if value := getattr(call.options, option):
            raise ConfigurationError(
                f"{option} is {value!r} in the call of a schedule, and the schedule says when it is due. Leave it out."
            )
    if call.key is not None and call.options.on_conflict is not RETURN_EXISTING:
        raise ConfigurationError(
            f"on_conflict is {call.options.on_conflict.value!r} in the call of a schedule, which makes no record while "
            "another one holds the key, and changes none. Leave it out."
        )


def _check_limit(limit: object) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= CATCH_UP_LIMIT:
        raise ConfigurationError(f"catch_up_limit is {limit!r}; it must be a whole number from 1 to {CATCH_UP_LIMIT}.")
