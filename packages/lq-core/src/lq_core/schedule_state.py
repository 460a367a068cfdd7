"""
What is remembered of a schedule between its due times, and every step that changes it.

Each step is a pure function from a state to the next one. A queue backend keeps it only if what it has is the version
before, together with the records that became due: so each due time is handled once, whoever is first.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from lq_core.plan import Plan
from lq_core.schedule import Schedule

GRACE: Final = timedelta(minutes=1)
"""A due time that is handled later than this was missed."""

SEEN_INTERVAL: Final = timedelta(minutes=1)
"""How often the workers that declare a schedule say that they do."""

RETIRED_AFTER: Final = timedelta(minutes=10)
"""A schedule that no worker has declared for so long is retired."""

BELIEVABLE: Final = timedelta(days=1)
"""How far the clock may have been set back; due times later than that were handled by a clock that was wrong."""


class ScheduleState(Struct, frozen=True, kw_only=True):
    """One schedule, as every queue backend keeps it."""

    name: str
    version: int = 1
    """Rises by one at every change; a change is kept if the version before is still the current one."""

    task_name: str
    plan: Plan
    """As the worker that started last declares it."""

    paused: bool = False
    retired: bool = False
    """True when no worker has declared it for ten minutes; nobody fires it then."""

    handled_until: datetime
    """Every due time up to this moment has been handled."""

    last_due: datetime | None = None
    """The newest due time that a record was made for; None before the first."""

    seen_at: datetime
    """When a worker last declared it."""

    def next_due(self, *, after: datetime) -> datetime | None:
        """Tell when it fires next; None while it is paused or retired, or if never. Raises ConfigurationError."""
        if self.paused or self.retired:
            return None
        return next(self.plan.after(max(after, self.handled_until)), None)


class Firing(NamedTuple):
    """What comes of a look at a schedule: the state after it, and the due times to make records for."""

    state: ScheduleState
    times: Sequence[datetime]
    """Oldest first."""

    caught_up: frozenset[datetime]
    """Those that were missed, and are made up for."""

    dropped: bool
    """Whether due times were left out."""


def declare(known: ScheduleState | None, schedule: Schedule, *, at: datetime) -> ScheduleState | None:
    """
    Enter what a starting worker declares; None when it is known already.

    What has another plan now begins anew: nothing that lies in the past is due.
    """
    task_name = schedule.call.task_name
    if known is None:
        return ScheduleState(name=schedule.name, task_name=task_name, plan=schedule.plan, handled_until=at, seen_at=at)
    if (known.plan, known.task_name) == (schedule.plan, task_name):
        return see(known, at=at)
    begun = known.handled_until if known.plan == schedule.plan else at
    return _next(known, task_name=task_name, plan=schedule.plan, handled_until=begun, seen_at=at, retired=False)


def see(known: ScheduleState, *, at: datetime) -> ScheduleState | None:
    """Note that a worker declares the schedule; None when another has just done so."""
    if known.retired or not timedelta() <= at - known.seen_at < SEEN_INTERVAL / 2:
        return _next(known, seen_at=at, retired=False)
    return None


def retire(known: ScheduleState, *, at: datetime) -> ScheduleState | None:
    """Note that nobody declares the schedule any more; None while somebody may."""
    return None if known.retired or at - known.seen_at < RETIRED_AFTER else _next(known, retired=True)


def pause(known: ScheduleState) -> ScheduleState | None:
    """Let it fire no more; None when it is paused already."""
    return None if known.paused else _next(known, paused=True)


def resume(known: ScheduleState, *, at: datetime) -> ScheduleState | None:
    """Let it fire again, from now on: the pause is not made up for. None when it was not paused."""
    return _next(known, paused=False, handled_until=max(at, known.handled_until)) if known.paused else None


def is_disbelieved(known: ScheduleState, *, at: datetime) -> bool:
    """Whether due times were handled by a clock that was wrong, so far ahead that they are not waited for."""
    return known.handled_until - at > BELIEVABLE and not known.paused


def fire(known: ScheduleState, schedule: Schedule, *, at: datetime) -> Firing | None:
    """
    Handle the due times that have come; None when none has.

    After an outage, *schedule* says which of them are made up for. A clock that was set back by less than a day is
    waited for.
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
    """Note that no record was made when it fired, since another one holds the key."""
    return _next(fired, last_due=known.last_due)


def _next(known: ScheduleState, **changes: object) -> ScheduleState:
    return replace(known, version=known.version + 1, **changes)
