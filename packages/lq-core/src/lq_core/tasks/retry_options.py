"""The retry options of a task in the form in which they are stored: functions and exceptions by name."""

import inspect
from collections.abc import Sequence
from datetime import timedelta
from typing import cast

from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.import_path import path_of, path_of_function
from lq_core.foundation.validation import check
from lq_core.records.record import Backoff


def backoff_from(given: object) -> Backoff | str | None:
    """
    Read a Backoff, a fixed duration, or a function from the number of failures to a duration, stored by its path.

    Raises ConfigurationError for anything else, and for a function that another process could not find.
    """
    if given is None:
        return None
    if inspect.iscoroutinefunction(given):
        raise ConfigurationError(f"backoff is {given!r}, which has to be awaited; use a plain function.")
    if callable(given) and not isinstance(given, type):
        return path_of_function(given)
    if isinstance(given, (int, float, timedelta)) and not isinstance(given, bool):
        backoff = Backoff(base=given, factor=1.0, cap=given, jitter=0.0)
    elif isinstance(given, Backoff):
        backoff = given
    else:
        raise ConfigurationError(
            f"backoff is {given!r}; it must be a Backoff, seconds, a timedelta, or a function of the failures."
        )
    check(backoff, prefix=f"backoff is {given!r}: its ")
    return backoff


def exceptions_from(name: str, given: object) -> tuple[str, ...] | None:
    """Read the exception classes of an option as their names. Raises ConfigurationError for anything else."""
    if given is None:
        return None
    kinds = cast("Sequence[object]", given) if isinstance(given, (tuple, list, set, frozenset)) else ()
    if not kinds:
        raise ConfigurationError(f"{name} is {given!r}; it takes at least one exception class, in a tuple: (OSError,).")
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ConfigurationError(f"{name} names {kind!r}; it takes exception classes, as in (OSError,).")
    return tuple(path_of(cast("type", kind)) for kind in kinds)
