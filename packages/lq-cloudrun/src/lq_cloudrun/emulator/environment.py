"""
The environment of an emulated container: what a job or a request may set, and what the process sees.

Nothing of the emulator's own environment gets in.
"""

from collections.abc import Iterable, Mapping
from typing import Final

LONGEST_NAME: Final = 32768
"""Characters in the name of a variable."""

LONGEST_VALUE: Final = 32768
"""Bytes in the value of a variable."""

MOST_VARIABLES: Final = 1000
"""Variables in one container."""

RESERVED_NAMES: Final = frozenset({"PORT"})
RESERVED_PREFIXES: Final = ("CLOUD_RUN_", "K_", "X_GOOGLE_")

# What a program needs to be found at all; a job that wants more declares its own PATH.
DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


def refusal(variables: Iterable[tuple[str, str]]) -> str | None:
    """Why Cloud Run would refuse *variables*, or None when it would take them."""
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
    """Add what Cloud Run itself sets to what is *declared*."""
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
