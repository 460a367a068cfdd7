"""The one place that asks what time it is, and knows how far ahead it may be."""

from datetime import UTC, datetime
from typing import Final

LONGEST_WAIT: Final = 100 * 365 * 86_400.0
"""Seconds that anything may be put off: a hundred years, after which moments come to their end."""


def utc_now() -> datetime:
    """Tell the time by this machine's clock, aware and in UTC."""
    return datetime.now(UTC)
