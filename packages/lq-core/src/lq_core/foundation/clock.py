"""The clock of this machine, and the longest time that lq accepts."""

from datetime import UTC, datetime
from typing import Final

from lq_core.foundation.errors import ConfigurationError

LONGEST_WAIT: Final = 100 * 365 * 86_400.0
"""The longest delay in seconds: a hundred years; longer delays could pass the last datetime."""


def utc_now() -> datetime:
    """Return the time of this machine's clock, aware and in UTC."""
    return datetime.now(UTC)


def in_utc(name: str, moment: datetime) -> datetime:
    """
    Convert a moment to UTC, because Python compares two moments of one time zone by their wall clocks.

    Raises ConfigurationError, with *name*, for a moment without a time zone.
    """
    if moment.utcoffset() is None:
        raise ConfigurationError(
            f"{name} is {moment}; it must be a moment with a time zone, such as datetime.now(UTC) + timedelta(hours=1)."
        )
    return moment.astimezone(UTC)
