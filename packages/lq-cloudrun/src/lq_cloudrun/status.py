"""
What Cloud Run says of an execution, in the five words that lq needs.

The condition ``Completed`` decides. Counts and times cannot: they are blind to a container that never started.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, cast

from lq_cloudrun.exit_code import CloudRunExitCode

_CANCELLED: Final = frozenset({"CANCELLED", "DELETED"})
_MEANINGS: Final = {str(int(code)): f", {code.name}" for code in CloudRunExitCode if code > CloudRunExitCode.FAILURE}
_EXIT_CODE: Final = re.compile(r"exit code: (\d+)")


@dataclass(frozen=True)
class CloudRunExecutionStatus:
    """Where an execution stands; exactly one of the first four is true."""

    succeeded: bool = False
    failed: bool = False
    cancelled: bool = False
    running: bool = True
    """True also when nobody can say: an execution is over only when Cloud Run says that it is."""

    error: str | None = None
    """Why it failed or was cancelled, or why nothing is known of it."""

    @property
    def ended(self) -> bool:
        """Whether the execution is over."""
        return not self.running

    @property
    def summary(self) -> str:
        """How it ended, for a message: ``failed (exit code 6, CLAIM_LOST)``."""
        if self.succeeded:
            return "succeeded (exit code 0)"
        code = _EXIT_CODE.search(self.error or "")
        word = "was cancelled" if self.cancelled else "failed" if self.failed else "is running"
        if code and code[1] != "0":
            return f"{word} (exit code {code[1]}{_MEANINGS.get(code[1], '')})"
        return f"{word} ({self.error})" if self.error else word


RUNNING: Final = CloudRunExecutionStatus()
SUCCEEDED: Final = CloudRunExecutionStatus(succeeded=True, running=False)


def unknown(reason: str) -> CloudRunExecutionStatus:
    """The status of an execution that nothing is known of."""
    return CloudRunExecutionStatus(error=reason)


def status_of(execution: Any) -> CloudRunExecutionStatus:
    """Read the status of an execution from Google's message."""
    conditions = getattr(execution, "conditions", None)
    if conditions is None:
        return _status_by_counts(execution)
    for condition in conditions:
        if getattr(condition, "type_", "") == "Completed":
            return _status_by(condition)
    return RUNNING


def containers_left(execution: Any) -> int:
    """How many containers of an execution are not over, as far as its counts tell."""
    return execution.task_count - execution.succeeded_count - execution.failed_count - execution.cancelled_count


def log_url_of(execution: Any) -> str | None:
    """Where a person reads the logs of an execution."""
    return cast("str", getattr(execution, "log_uri", "")) or None


def environment_of(execution: Any) -> dict[str, str]:
    """The variables that an execution's containers were started with."""
    containers = execution.template.containers
    return {variable.name: variable.value for container in containers for variable in container.env}


def _status_by(condition: Any) -> CloudRunExecutionStatus:
    state = _name(condition.state)
    message = str(getattr(condition, "message", "")) or None
    if state == "CONDITION_SUCCEEDED":
        return SUCCEEDED
    if state != "CONDITION_FAILED":
        return RUNNING
    if _name(getattr(condition, "execution_reason", "")) in _CANCELLED:
        return CloudRunExecutionStatus(cancelled=True, running=False, error=message)
    return CloudRunExecutionStatus(failed=True, running=False, error=message)


def _status_by_counts(execution: Any) -> CloudRunExecutionStatus:
    """Read a status where a client tells no conditions at all."""
    if getattr(execution, "failed_count", 0):
        return CloudRunExecutionStatus(failed=True, running=False, error="a task of the execution failed")
    if getattr(execution, "cancelled_count", 0):
        return CloudRunExecutionStatus(cancelled=True, running=False)
    if getattr(execution, "succeeded_count", 0) and not getattr(execution, "running_count", 0):
        return SUCCEEDED
    return RUNNING


def _name(value: Any) -> str:
    return str(getattr(value, "name", value))
