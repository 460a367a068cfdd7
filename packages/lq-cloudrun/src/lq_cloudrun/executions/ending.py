"""
How an execution ended, and why: in words that a person can act on.

The exit code and the signal are facts of the last attempt of its first task. Without them, the condition of the
execution decides.
"""

import re
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from lq_cloudrun.executions.status import CloudRunExitCode, status_of

KILLED: Final = 9
"""SIGKILL: Cloud Run sends it to a container that uses more memory than it has."""

STOPPED: Final = 15
OF_A_SHELL: Final = 128
"""A shell adds the number of a signal to this."""

MEANINGS: Final = MappingProxyType(
    {
        0: "Its program succeeded without claiming the record: does the job run `python -m lq_cloudrun`?",
        CloudRunExitCode.FAILURE: "The container could not do its work; the last line of its log says why.",
        CloudRunExitCode.MISSING_TASK_ID: "Its environment names no record: does env_prefix fit?",
        CloudRunExitCode.INVALID_TASK_ID: "Its environment names no valid record id.",
        CloudRunExitCode.MISSING_RECORD: "Its database has no such record: is it the queue of the dispatcher?",
        CloudRunExitCode.UNKNOWN_TASK: "Its image does not know the task: deploy the image again.",
        CloudRunExitCode.CLAIM_LOST: "Another execution had the record, or it was not due.",
        CloudRunExitCode.CANCELLED: "The record was cancelled.",
        126: "Its command cannot be run: is it a program?",
        127: "Its command was not found in the image.",
    }
)
"""The meaning of the exit code of a container that has not claimed its record."""


class Ending(Struct, frozen=True, kw_only=True):
    """The end of an execution."""

    summary: str
    """``failed (exit code 6, CLAIM_LOST)``."""

    meaning: str = ""
    """What it means if the container has not claimed its record."""

    advice: str = ""
    """What to do about it, whatever the container has done."""


def ending_of(execution: Any, task: Any | None) -> Ending:
    """Describe the end of an execution; *task* is its first task as GetTask shows it, or None if it is unknown."""
    status = status_of(execution)
    if status.succeeded:
        return Ending(summary=status.summary, meaning=MEANINGS[0])
    attempt = getattr(task, "last_attempt_result", None)
    signal, code = int(getattr(attempt, "term_signal", 0)), int(getattr(attempt, "exit_code", 0))
    if not (code or signal):
        told = re.search(r"exit code: (\d+)", status.error or "")
        code = int(told[1]) if told else 0
    if code - OF_A_SHELL in {KILLED, STOPPED}:
        signal, code = code - OF_A_SHELL, 0
    if status.cancelled or not (code or signal):
        return Ending(summary=status.summary)
    if not signal:
        name = f", {CloudRunExitCode(code).name}" if code in set(CloudRunExitCode) and code > 1 else ""
        return Ending(summary=f"failed (exit code {code}{name})", meaning=MEANINGS.get(code, ""))
    advice = _more_memory(execution) if signal == KILLED and "timeout" not in (status.error or "") else ""
    late = ", its time was up" if "timeout" in (status.error or "") else ""
    return Ending(summary=f"failed (signal {signal}{late})", advice=advice)


def _more_memory(execution: Any) -> str:
    job, memory = str(getattr(execution, "job", "JOB")).rpartition("/")[2], ""
    for container in getattr(getattr(execution, "template", None), "containers", ()):
        limits: Any = getattr(getattr(container, "resources", None), "limits", {})
        memory = memory or limits.get("memory", "")
    command = f"gcloud run jobs update {job} --memory=2Gi"
    return f"It probably used more than its memory{memory and f' ({memory})'}. Give the job more: {command}"
