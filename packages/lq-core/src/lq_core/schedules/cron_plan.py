"""
Plans: cron texts or intervals, read on the clock of one time zone.

A plan names times on the wall clock. One rule turns them into moments, also when the clock changes: a *frequent* plan
is due whenever the clock shows one of its times, any other plan once for each of them.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import count
from typing import Annotated, Final

from msgspec import Meta, Struct

from lq_core.foundation.clock import LONGEST_WAIT
from lq_core.foundation.errors import ConfigurationError, alike
from lq_core.foundation.validation import HUNDRED_YEARS, check

FIELDS: Final = "minute, hour, day of the month, month, day of the week"

HOUR: Final = 3600.0
_UNITS: Final = (("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60))
_SECOND: Final = timedelta(seconds=1)
_MONDAY: Final = datetime(1, 1, 1)  # noqa: DTZ001 -- as below
_SAMPLE: Final = datetime(2000, 1, 1)  # noqa: DTZ001 -- a time on the wall clock


class Plan(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """
    The moments at which a schedule is due, by either *cron* or *every*.

    A plan is frequent if the minute or the hour of its cron text begins with ``*``, or if its interval is an hour or
    less. When the clock is set back, a frequent plan is due in both passes of the repeated hour, any other plan only
    in the first. When it is set forward, a frequent plan leaves out the times in the gap; any other plan is due at
    the end of the gap.
    """

    cron: str | None = None
    """Five fields: minute, hour, day of the month, month, day of the week."""

    every: (
        Annotated[
            float,
            Meta(ge=1, le=LONGEST_WAIT, description=f"a number of seconds from 1 to {HUNDRED_YEARS}"),
        ]
        | None
    ) = None
    """Seconds between two times on the wall clock, counted from a Monday at midnight."""

    timezone: str = "UTC"
    """The name of a time zone, such as ``"Europe/Berlin"``."""

    def check(self) -> None:
        """Raise ConfigurationError, with the value and the rule, for a plan that can never work."""
        if (self.cron is None) == (self.every is None):
            raise ConfigurationError(
                f"cron is {self.cron!r} and every is {self.every!r}; a schedule takes exactly one of them."
            )
        check(self)
        _ = _zone(self.timezone)
        if next(self._walls(_SAMPLE), None) is None:
            raise ConfigurationError(f"The cron text {self.cron!r} names no day of the next fifty years.")

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the due times after a moment, in UTC and in order; raises as :meth:`check` does."""
        found: datetime | None = moment
        while found := self._next(found):
            yield found

    def until(self, moment: datetime) -> Iterator[datetime]:
        """Yield the due times up to a moment, in UTC, the newest first; raises as :meth:`check` does."""
        found = self._last(moment)
        while found is not None:
            yield found
            found = self._last(found - timedelta.resolution)

    def on_its_clock(self, moment: datetime) -> datetime:
        """Convert a moment to the plan's time zone."""
        return moment.astimezone(_zone(self.timezone))

    def in_words(self) -> str:
        """Describe the plan in words, without its time zone."""
        if self.cron is not None:
            from cronsim import CronSim  # noqa: PLC0415 -- it takes longer to import than much of lq

            return CronSim(self.cron, _SAMPLE).explain()
        every = self.every or 0.0
        unit, size = next((unit for unit in _UNITS if every % unit[1] == 0), ("second", 1))
        return f"Every {unit}" if every == size else f"Every {every / size:g} {unit}s"

    @property
    def is_frequent(self) -> bool:
        """Whether it is due each time that the clock shows one of its times."""
        if self.cron is not None:
            minute, hour, *_ = self.cron.split()
            return minute.startswith("*") or hour.startswith("*")
        return self.every is not None and self.every <= HOUR

    def _next(self, moment: datetime) -> datetime | None:
        local = self.on_its_clock(moment)
        wall = local.replace(tzinfo=None, fold=0)
        best: datetime | None = None
        # In the first pass of a repeated hour, the clock will show earlier times again.
        for time in self._walls(wall - (_repeated(local) if local.fold == 0 else timedelta())):
            best = min((due for due in (*self._moments(time), best) if due is not None and due > moment), default=None)
            if time > wall and best is not None:
                break
        return best

    def _last(self, moment: datetime) -> datetime | None:
        local = self.on_its_clock(moment)
        wall = local.replace(tzinfo=None, fold=0)
        best: datetime | None = None
        # In the second pass, the clock has already shown later times.
        for time in self._walls(wall + (_repeated(local) if local.fold == 1 else timedelta()), reverse=True):
            best = max((due for due in (*self._moments(time), best) if due is not None and due <= moment), default=None)
            if time <= wall and best is not None:
                break
        return best

    def _walls(self, wall: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        """Yield the times on the wall clock after *wall*, or in reverse those up to it."""
        if self.every is None:
            return _cron(self.cron or "", wall.replace(microsecond=0) + _SECOND if reverse else wall, reverse=reverse)
        step = timedelta(seconds=self.every)
        turns = (wall - _MONDAY) // step
        return (_MONDAY + turn * step for turn in (range(turns, -1, -1) if reverse else count(turns + 1)))

    def _moments(self, time: datetime) -> tuple[datetime, ...]:
        """Return the moments at which a time on the wall clock is due."""
        zone = _zone(self.timezone)
        first, second = (time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first == second:
            return (first,)
        if first < second:
            return (first, second) if self.is_frequent else (first,)
        return () if self.is_frequent else (_change_between(second, first, zone),)


def _repeated(local: datetime) -> timedelta:
    """Return how much time of the wall clock is repeated around a moment; usually none."""
    first, second = (local.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    return first - second


def _change_between(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Find the moment at which the clock is changed, to the second."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // (2 * _SECOND) * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def _cron(text: str, wall: datetime, *, reverse: bool) -> Iterator[datetime]:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 -- it takes longer to import than much of lq

    try:
        # The wall clock has no time zone; _moments() applies it.
        times = CronSim(text, wall, reverse=reverse)
    except (CronSimError, AssertionError, ValueError) as error:
        raise _bad_cron(text, str(error)) from None
    if len(text.split()) != FIELDS.count(",") + 1:
        raise _bad_cron(text, "Wrong number of fields")
    return times


def _bad_cron(text: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"The cron text {text!r} does not fit: {problem}. It takes five fields: {FIELDS}.")


@lru_cache
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, available_timezones  # noqa: PLC0415 -- as above

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError, TypeError, AttributeError):
        known = available_timezones()
    if not known:
        raise ConfigurationError(
            f"The time zone {name!r} is not known, since this system has no time zones: pip install tzdata"
        )
    by_lower = {each.lower(): each for each in known}
    close = alike(str(name).lower(), by_lower)
    advice = f"Did you mean {by_lower[close[0]]!r}?" if close else "An example is 'Europe/Berlin'."
    raise ConfigurationError(f"The time zone {name!r} is not known. {advice}")
