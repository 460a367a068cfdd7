"""What a task says about its retries in Python, as it is stored: functions and exceptions by name."""

import inspect
from collections.abc import Sequence
from typing import cast

from lq_core.errors import ConfigurationError
from lq_core.import_path import path_of_class, path_of_function
from lq_core.record import Backoff


def backoff_from(given: object) -> Backoff | str | None:
    """
    Take a Backoff, fixed seconds, or a function from the number of failures to seconds, which is stored by its path.

    Raises ConfigurationError for anything else, and for a function that another process could not find.
    """
    if given is None or isinstance(given, Backoff):
        return given
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return Backoff(base=float(given), factor=1.0, cap=float(given), jitter=0.0)
    if inspect.iscoroutinefunction(given):
        raise ConfigurationError(f"backoff is {given!r}, which has to be awaited; use a plain function.")
    if callable(given) and not isinstance(given, type):
        return path_of_function(given)
    raise ConfigurationError(
        f"backoff is {given!r}; it must be a Backoff, seconds, or a function from the number of failures to seconds."
    )


def exceptions_from(name: str, given: object) -> tuple[str, ...] | None:
    """Take the exception classes of an option, and name them. Raises ConfigurationError for anything else."""
    if given is None:
        return None
    kinds = cast("Sequence[object]", given) if isinstance(given, (tuple, list, set, frozenset)) else ()
    if not kinds:
        raise ConfigurationError(f"{name} is {given!r}; it takes at least one exception class, in a tuple: (OSError,).")
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ConfigurationError(f"{name} names {kind!r}; it takes exception classes, such as OSError.")
    return tuple(path_of_class(cast("type", kind)) for kind in kinds)


def check_retries(backoff: Backoff | str | None, only: tuple[str, ...] | None, never: tuple[str, ...] | None) -> None:
    """Raise ConfigurationError for a backoff that cannot be, and for exceptions that are both retried and not."""
    if isinstance(backoff, Backoff):
        is_sound = backoff.base >= 0 and backoff.factor > 0 and backoff.cap >= 0 and 0 <= backoff.jitter <= 1
        if not is_sound:
            raise ConfigurationError(
                f"backoff is {backoff!r}; base and cap must not be negative, factor be greater than 0, and jitter be "
                "from 0 to 1."
            )
    both = set(only or ()) & set(never or ())
    if both:
        raise ConfigurationError(f"retry_on and never_retry_on both name {', '.join(sorted(both))}; leave one out.")
