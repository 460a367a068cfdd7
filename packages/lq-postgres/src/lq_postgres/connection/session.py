"""
The settings of a session: what lq sets for itself, whatever the role or the database sets.

Generic plans are made once. A new plan, or JIT, would take longer than the statement. A plan from the time when the
table was small must not read the whole table later, so each plan uses an index. It uses one in the right order, so that
a claim does not read all ready records to sort them. The timeouts limit how long a statement waits for a lock of the
application, how long a process that stops keeps its locks, and how long the server works for a process that has gone.
"""

from collections.abc import Mapping
from functools import cache
from math import ceil
from typing import Final

WHOLE: Final = 20
"""A statement that reads the whole table may take this many command timeouts."""

_PLANS: Final[Mapping[str, str]] = {
    "jit": "off",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "max_parallel_workers_per_gather": "0",  # A parallel walk that is asked for a few records reads the whole table.
    "plan_cache_mode": "force_generic_plan",
}

WHOLE_PLANS: Final = (
    "SELECT set_config('enable_seqscan', 'on', true), set_config('max_parallel_workers_per_gather', '2', true)"
)
"""Lets the statements of a transaction read a whole table as fast as the server can; 2 is PostgreSQL's default."""

_NEWER: Final[Mapping[str, int]] = {"idle_session_timeout": 14, "transaction_timeout": 17}
"""The first versions of PostgreSQL with a setting that lq must turn off. Older ones refuse its name."""


def timeouts(*, command_timeout: float) -> Mapping[str, int]:
    """Return the timeouts of the server for the connections of lq, in milliseconds; 0 turns one off."""
    return {
        "lock_timeout": 5000,
        "idle_in_transaction_session_timeout": 5000,
        "statement_timeout": min(ceil(WHOLE * command_timeout * 1000), 2**31 - 1),
        **dict.fromkeys(_NEWER, 0),
    }


def startup_settings(*, command_timeout: float) -> Mapping[str, str]:
    """Return the settings that every version of PostgreSQL knows."""
    known = {
        name: str(value) for name, value in timeouts(command_timeout=command_timeout).items() if name not in _NEWER
    }
    return {**_PLANS, **known, "default_transaction_isolation": "read committed"}


def newer_settings(version: int) -> Mapping[str, str]:
    """Return the settings that this major version of PostgreSQL knows besides."""
    return {name: "0" for name, since in _NEWER.items() if version >= since}


def setting(settings: Mapping[str, str], *, local: bool = False) -> str:
    """Write the statements that set *settings*: for the session, or with *local* for the transaction."""
    scope = "LOCAL" if local else "SESSION"
    return " ".join(f"SET {scope} {name} = '{value}';" for name, value in settings.items())


def begin(settings: Mapping[str, str]) -> str:
    """Write the statements that begin a transaction with these settings; sent together, they cost one round trip."""
    return f"BEGIN ISOLATION LEVEL READ COMMITTED; {setting(settings, local=True)}"


@cache
def beginning(version: int, *, command_timeout: float) -> str:
    """Begin a transaction in a session that a pooler lends for it, on a server of this major version."""
    return begin({**startup_settings(command_timeout=command_timeout), **newer_settings(version)})


def turning_off(settings: Mapping[str, str]) -> str:
    """
    Write the statement that sets *settings* in a session that the server has opened with ours.

    A pooler that drops our settings lends its session to others, whose settings must stay.
    """
    calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
    return f"SELECT {calls} WHERE current_setting('plan_cache_mode') = '{_PLANS['plan_cache_mode']}'"
