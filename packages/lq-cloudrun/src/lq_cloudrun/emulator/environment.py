"""
The environment of an emulated container: the variables that a job or a request may set, and those of the process.

A process inherits nothing from the environment of the emulator.
"""

from collections.abc import Iterable, Mapping
from typing import Final

LONGEST_NAME: Final = 32768
"""The most characters in the name of a variable."""

LONGEST_VALUE: Final = 32768
"""The most bytes in the value of a variable."""

MOST_VARIABLES: Final = 1000
"""The most variables in one container."""

RESERVED_NAMES: Final = frozenset({"PORT"})
RESERVED_PREFIXES: Final = ("CLOUD_RUN_", "K_", "X_GOOGLE_")

# Enough to find a program. A job that needs more declares its own PATH.
DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


def refusal(variables: Iterable[tuple[str, str]]) -> str | None:
    """Return why Cloud Run would refuse *variables*; None if it would accept them."""
    seen: set[str] = set()
    for name, value in variables:
        complaint = _complaint(name, value)
        if complaint:
            return complaint
        if name in seen:
            return f"The environment variable {name!r} is set twice."
        seen.add(name)
    if len(seen) > MOST_VARIABLES:
        return f"There are {len(seen)} environment variables; a container may have {MOST_VARIABLES}."
    return None


def container_environment(
    declared: Mapping[str, str], *, job: str, execution: str, index: int, attempt: int, count: int
) -> dict[str, str]:
    """Add the variables that Cloud Run sets to the *declared* ones."""
    return {
        "PATH": DEFAULT_PATH,
        **declared,
        "CLOUD_RUN_JOB": job,
        "CLOUD_RUN_EXECUTION": execution,
        "CLOUD_RUN_TASK_INDEX": str(index),
        "CLOUD_RUN_TASK_ATTEMPT": str(attempt),
        "CLOUD_RUN_TASK_COUNT": str(count),
    }


def _complaint(name: str, value: str) -> str | None:
    if not name or "=" in name or "\0" in name + value:
        return f"{name!r} cannot be the name of an environment variable, or its value holds a null character."
    if name in RESERVED_NAMES or name.startswith(RESERVED_PREFIXES):
        return f"The environment variable {name!r} is reserved by Cloud Run and cannot be set."
    if len(name) > LONGEST_NAME:
        return f"The name of an environment variable has {len(name)} characters; {LONGEST_NAME} are allowed."
    size = len(value.encode())
    if size > LONGEST_VALUE:
        return f"The value of the environment variable {name!r} has {size} bytes; {LONGEST_VALUE} are allowed."
    return None
