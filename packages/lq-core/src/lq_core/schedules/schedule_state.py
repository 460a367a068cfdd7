"""
The stored state of a schedule, and every step that changes it.

Each step is a pure function from a state to the next one. A queue backend stores it, together with the records that
became due, only if it still has the version before. So each due time is handled once.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule import Schedule

GRACE: Final = timedelta(minutes=1)
"""A due time that is handled later than this was missed."""

SEEN_INTERVAL: Final = timedelta(minutes=1)
"""How often the workers that declare a schedule note that it is declared."""

RETIRED_AFTER: Final = timedelta(minutes=10)
"""A schedule that no worker has declared for this time is retired."""

BELIEVABLE: Final = timedelta(days=1)
"""How far the clock may be set back; due times that were handled further ahead came from a wrong clock."""


class ScheduleState(Struct, frozen=True, kw_only=True):
    """The state of one schedule, as every queue backend stores it."""

    name: str
    version: int = 1
    """Rises by one at every change; a change is stored if the version before is still current."""

    task_name: str
    plan: Plan
    """The plan of the worker that started last."""

    paused: bool = False
    retired: bool = False
    """True if no worker has declared it for ten minutes; it does not fire then."""

    handled_until: datetime
    """Every due time up to this moment has been handled."""

    last_due: datetime | None = None
    """The newest due time that a record was made for; None before the first."""

    seen_at: datetime
    """When a worker last declared it."""

    def next_due(self, *, after: datetime) -> datetime | None:
        """Return when it fires next; None if it does not. Raises ConfigurationError for a plan that cannot work."""
        if self.paused or self.retired:
            return None
        return next(self.plan.after(max(after, self.handled_until)), None)


class Firing(NamedTuple):
    """The state after a schedule has fired, and the due times that need records."""

    state: ScheduleState
    times: Sequence[datetime]
    """Oldest first."""

    caught_up: frozenset[datetime]
    """The missed due times that are made up for."""

    dropped: bool
    """Whether due times were left out."""


def declare(known: ScheduleState | None, schedule: Schedule, *, at: datetime) -> ScheduleState | None:
    """
    Store what a starting worker declares; None if it is known already.

    A schedule with a new plan begins anew: no past time is due.
    """
    task_name = schedule.call.task_name
    if known is None:
        return ScheduleState(name=schedule.name, task_name=task_name, plan=schedule.plan, handled_until=at, seen_at=at)
    if (known.plan, known.task_name) == (schedule.plan, task_name):
        return see(known, at=at)
    begun = known.handled_until if known.plan == schedule.plan else at
    return _next(known, task_name=task_name, plan=schedule.plan, handled_until=begun, seen_at=at, retired=False)


def see(known: ScheduleState, *, at: datetime) -> ScheduleState | None:
    """Note that a worker declares the schedule; None if this was noted a short time ago."""
    if known.retired or not timedelta() <= at - known.seen_at < SEEN_INTERVAL / 2:
        return _next(known, seen_at=at, retired=False)
    return None


def retire(known: ScheduleState, *, at: datetime) -> ScheduleState | None:
    """Retire a schedule that no worker declares any more; None if it is too early, or was done before."""
    return None if known.retired or at - known.seen_at < RETIRED_AFTER else _next(known, retired=True)


def pause(known: ScheduleState) -> ScheduleState | None:
    """Stop it from firing; None if it is paused already."""
    return None if known.paused else _next(known, paused=True)


def resume(known: ScheduleState, *, at: datetime) -> ScheduleState | None:
    """Let it fire again from now on, without the due times of the pause; None if it was not paused."""
    return _next(known, paused=False, handled_until=max(at, known.handled_until)) if known.paused else None


def is_disbelieved(known: ScheduleState, *, at: datetime) -> bool:
    """Whether a wrong clock has handled due times too far ahead to wait for."""
    return known.handled_until - at > BELIEVABLE and not known.paused


def fire(known: ScheduleState, schedule: Schedule, *, at: datetime) -> Firing | None:
    """
    Handle the due times up to *at*; None if there are none.

    After an outage, *schedule* says which of them are made up for. If the clock was set back by less than a day, the
    schedule waits for it.
    """
    if known.paused:
        return None
    if is_disbelieved(known, at=at):
        return Firing(_next(known, handled_until=at), (), frozenset(), dropped=False)
    bound = schedule.catch_up_limit if schedule.catch_up == "all" else 1
    newest_first = takewhile(lambda due: due > known.handled_until, known.plan.until(at))
    times = list(islice(newest_first, bound + 1))
    if not times:
        return None
    dropped, times = len(times) > bound, times[:bound][::-1]
    newest = times[-1]
    missed = frozenset(due for due in times if due != newest or at - due > GRACE)
    if schedule.catch_up == "skip" and missed:
        return Firing(_next(known, handled_until=newest, seen_at=at, retired=False), (), frozenset(), dropped=True)
    state = _next(known, handled_until=newest, last_due=newest, seen_at=at, retired=False)
    return Firing(state, times, missed, dropped)


def leave_out(fired: ScheduleState, *, known: ScheduleState) -> ScheduleState:
    """Note that it fired without a record, because another record holds the key."""
    return _next(fired, last_due=known.last_due)


def _next(known: ScheduleState, **changes: object) -> ScheduleState:
    return replace(known, version=known.version + 1, **changes)
