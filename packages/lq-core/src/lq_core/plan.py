"""
When something comes due: a cron text or an interval, read on the clock of one time zone.

A plan names times on the wall clock, and one rule turns them into moments, also on the days when the clock is changed:
a *frequent* plan is due whenever the clock shows one of its times, any other once for each of them.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from itertools import count
from math import isfinite
from typing import Final

from msgspec import Struct

from lq_core.clock import LONGEST_WAIT
from lq_core.errors import ConfigurationError

FIELDS: Final = "minute, hour, day of the month, month, day of the week"

HOUR: Final = 3600.0
_UNITS: Final = (("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60))
_SECOND: Final = timedelta(seconds=1)
_MONDAY: Final = datetime(1, 1, 1)  # noqa: DTZ001 -- as below
_SAMPLE: Final = datetime(2000, 1, 1)  # noqa: DTZ001 -- a time on the wall clock


class Plan(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """
    The moments at which something is due; either *cron* or *every* is given.

    A plan is frequent if its cron text has a ``*`` at the beginning of the minute or the hour, or if its interval is
    an hour or less. Where the clock is set back, a frequent plan is due in both passes of the repeated hour, any other
    only in the first. Where it is set forward, what falls into the gap is left out if the plan is frequent, and else
    is due at the end of the gap.
    """

    cron: str | None = None
    """Five fields: minute, hour, day of the month, month, day of the week."""

    every: float | None = None
    """Seconds between two times on the wall clock, counted from a Monday at midnight."""

    timezone: str = "UTC"
    """The name of a time zone, such as ``"Europe/Berlin"``."""

    def check(self) -> None:
        """Raise ConfigurationError, with the value and the rule, for a plan that can never work."""
        if (self.cron is None) == (self.every is None):
            raise ConfigurationError(
                f"cron is {self.cron!r} and every is {self.every!r}; a schedule takes exactly one of them."
            )
        if self.every is not None:
            _check_interval(self.every)
        elif not isinstance(self.cron, str):
            raise ConfigurationError(f"cron is {self.cron!r}; it must be a text such as '0 3 * * *'.")
        _ = _zone(self.timezone)
        if next(self._walls_after(_SAMPLE), None) is None:
            raise ConfigurationError(f"The cron text {self.cron!r} names no day of the next fifty years.")

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Tell the due times after a moment, in UTC and in order; raises as :meth:`check` does."""
        found = self._next(moment)
        while found is not None:
            yield found
            found = self._next(found)

    def until(self, moment: datetime) -> Iterator[datetime]:
        """Tell the due times up to a moment, in UTC, the newest first; raises as :meth:`check` does."""
        found = self._last(moment)
        while found is not None:
            yield found
            found = self._last(found - timedelta.resolution)

    def on_its_clock(self, moment: datetime) -> datetime:
        """Tell what the clock of the plan's time zone shows at a moment."""
        return moment.astimezone(_zone(self.timezone))

    def in_words(self) -> str:
        """Describe the plan to a person, without its time zone."""
        if self.cron is not None:
            from cronsim import CronSim  # noqa: PLC0415 -- it takes longer to import than much of lq

            return CronSim(self.cron, _SAMPLE).explain()
        every = self.every or 0.0
        unit, size = next((unit for unit in _UNITS if every % unit[1] == 0), ("second", 1))
        return f"Every {unit}" if every == size else f"Every {every / size:g} {unit}s"

    @property
    def is_frequent(self) -> bool:
        """Whether it is due whenever the clock shows one of its times, instead of once for each."""
        if self.cron is not None:
            minute, hour, *_ = self.cron.split()
            return minute.startswith("*") or hour.startswith("*")
        return self.every is not None and self.every <= HOUR

    def _next(self, moment: datetime) -> datetime | None:
        local = moment.astimezone(_zone(self.timezone))
        wall = local.replace(tzinfo=None, fold=0)
        best: datetime | None = None
        # In the first pass of a repeated hour, times that the clock has shown will be shown again.
        for time in self._walls_after(wall - (_repeated(local) if local.fold == 0 else timedelta())):
            best = min((due for due in (*self._moments(time), best) if due is not None and due > moment), default=None)
            if time > wall and best is not None:
                break
        return best

    def _last(self, moment: datetime) -> datetime | None:
        local = moment.astimezone(_zone(self.timezone))
        wall = local.replace(tzinfo=None, fold=0)
        best: datetime | None = None
        # In the second pass, the clock has shown later times than it shows now.
        for time in self._walls_until(wall + (_repeated(local) if local.fold == 1 else timedelta())):
            best = max((due for due in (*self._moments(time), best) if due is not None and due <= moment), default=None)
            if time <= wall and best is not None:
                break
        return best

    def _walls_after(self, wall: datetime) -> Iterator[datetime]:
        """Tell the times on the wall clock after one, in order."""
        if self.every is not None:
            return _multiples(self.every, wall, reverse=False)
        return _cron(self.cron or "", wall, reverse=False)

    def _walls_until(self, wall: datetime) -> Iterator[datetime]:
        """Tell the times on the wall clock up to one, the latest first."""
        if self.every is not None:
            return _multiples(self.every, wall, reverse=True)
        return _cron(self.cron or "", wall.replace(microsecond=0) + _SECOND, reverse=True)

    def _moments(self, time: datetime) -> tuple[datetime, ...]:
        """Tell when a time on the wall clock is due."""
        zone = _zone(self.timezone)
        first, second = (time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first == second:
            return (first,)
        if first < second:
            return (first, second) if self.is_frequent else (first,)
        return () if self.is_frequent else (_change_between(second, first, zone),)


def _repeated(local: datetime) -> timedelta:
    """How much of the wall clock's time is repeated around a moment; nothing on nearly every day."""
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


def _multiples(every: float, wall: datetime, *, reverse: bool) -> Iterator[datetime]:
    step, start = timedelta(seconds=every), _MONDAY
    turns = (wall - start) // step
    for turn in range(turns, -1, -1) if reverse else count(turns + 1):
        yield start + turn * step


def _cron(text: str, wall: datetime, *, reverse: bool) -> Iterator[datetime]:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 -- it takes longer to import than much of lq

    try:
        # Without a time zone: what becomes of a time on the wall clock is decided here.
        times = CronSim(text, wall, reverse=reverse)
    except (CronSimError, AssertionError, ValueError) as error:
        raise _bad_cron(text, str(error)) from None
    if len(text.split()) != FIELDS.count(",") + 1:
        raise _bad_cron(text, "Wrong number of fields")
    return times


def _bad_cron(text: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"The cron text {text!r} does not fit: {problem}. It takes five fields: {FIELDS}.")


def _check_interval(every: object) -> None:
    if isinstance(every, bool) or not isinstance(every, (int, float)):
        raise ConfigurationError(f"every is {every!r}; it must be a number of seconds.")
    if not isfinite(every) or not 1 <= every <= LONGEST_WAIT:
        raise ConfigurationError(f"every is {every!r}; it must be from 1 to {LONGEST_WAIT:g} seconds.")


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
    close = get_close_matches(str(name).lower(), by_lower, n=1)
    advice = f"Did you mean {by_lower[close[0]]!r}?" if close else "Name one such as 'Europe/Berlin'."
    raise ConfigurationError(f"The time zone {name!r} is not known. {advice}")
