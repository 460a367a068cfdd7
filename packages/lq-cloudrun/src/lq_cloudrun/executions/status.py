"""
The status of an execution, in the five values that lq needs, and the exit codes of its containers.

The condition ``Completed`` decides. Counts and times do not show a container that never started.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final


class CloudRunExitCode(IntEnum):
    """The exit codes of the entrypoint. The outcome itself is in the record."""

    SUCCESS = 0
    FAILURE = 1
    """The task failed or was interrupted, or the container could not do its work."""

    MISSING_TASK_ID = 2
    INVALID_TASK_ID = 3
    MISSING_RECORD = 4
    UNKNOWN_TASK = 5
    """The image does not know the task of the record."""

    CLAIM_LOST = 6
    """Another execution has the record, or it has ended."""

    CANCELLED = 7


@dataclass(frozen=True)
class CloudRunExecutionStatus:
    """The status of an execution. Exactly one of the first four values is true."""

    succeeded: bool = False
    failed: bool = False
    cancelled: bool = False
    running: bool = True
    """True also if the status is unknown: an execution has ended only if Cloud Run says so."""

    error: str | None = None
    """Why it failed or was cancelled, or why its status is unknown."""

    @property
    def ended(self) -> bool:
        """Whether the execution has ended."""
        return not self.running

    @property
    def summary(self) -> str:
        """How it ended, for a message: ``failed (exit code 6, CLAIM_LOST)``."""
        if self.succeeded:
            return "succeeded (exit code 0)"
        word = "was cancelled" if self.cancelled else "failed" if self.failed else "is running"
        code = re.search(r"exit code: (\d+)", self.error or "")
        if code and code[1] != "0":
            return f"{word} (exit code {code[1]}{_MEANINGS.get(int(code[1]), '')})"
        return f"{word} ({self.error})" if self.error else word


_MEANINGS: Final = {int(code): f", {code.name}" for code in CloudRunExitCode if code > CloudRunExitCode.FAILURE}
_SUCCEEDED: Final = CloudRunExecutionStatus(succeeded=True, running=False)


def status_of(execution: Any) -> CloudRunExecutionStatus:
    """Read the status of an execution from Google's message; None, for an unknown execution, reads as running."""
    if execution is None:
        return CloudRunExecutionStatus(error="Cloud Run does not know the execution")
    conditions = getattr(execution, "conditions", None)
    if conditions is None:
        return _status_by_counts(execution)
    completed = [condition for condition in conditions if getattr(condition, "type_", "") == "Completed"]
    return _status_by(completed[0]) if completed else CloudRunExecutionStatus()


def containers_left(execution: Any) -> int:
    """Return how many containers of an execution have not ended, by its counts."""
    return execution.task_count - execution.succeeded_count - execution.failed_count - execution.cancelled_count


def log_url_of(execution: Any) -> str | None:
    """Return the address of the logs of an execution."""
    return str(getattr(execution, "log_uri", "")) or None


def environment_of(execution: Any) -> dict[str, str]:
    """Return the environment variables of an execution's containers."""
    containers = execution.template.containers
    return {variable.name: variable.value for container in containers for variable in container.env}


def _status_by(condition: Any) -> CloudRunExecutionStatus:
    state = _name(condition.state)
    if state == "CONDITION_SUCCEEDED":
        return _SUCCEEDED
    if state != "CONDITION_FAILED":
        return CloudRunExecutionStatus()
    cancelled = _name(getattr(condition, "execution_reason", "")) in {"CANCELLED", "DELETED"}
    message = str(getattr(condition, "message", "")) or None
    return CloudRunExecutionStatus(cancelled=cancelled, failed=not cancelled, running=False, error=message)


def _status_by_counts(execution: Any) -> CloudRunExecutionStatus:
    """Read the status from a client whose executions have no conditions at all."""
    if getattr(execution, "failed_count", 0):
        return CloudRunExecutionStatus(failed=True, running=False, error="a task of the execution failed")
    if getattr(execution, "cancelled_count", 0):
        return CloudRunExecutionStatus(cancelled=True, running=False)
    if getattr(execution, "succeeded_count", 0) and not getattr(execution, "running_count", 0):
        return _SUCCEEDED
    return CloudRunExecutionStatus()


def _name(value: Any) -> str:
    return str(getattr(value, "name", value))
