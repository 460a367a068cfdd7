"""How a container tells Cloud Run what became of its record."""

from enum import IntEnum


class CloudRunExitCode(IntEnum):
    """The exit codes of the entrypoint; the record says more, and what it says counts."""

    SUCCESS = 0
    FAILURE = 1
    """The task failed or was interrupted, or the container could not do its work."""

    MISSING_TASK_ID = 2
    INVALID_TASK_ID = 3
    MISSING_RECORD = 4
    UNKNOWN_TASK = 5
    """The image does not know the task of the record."""

    CLAIM_LOST = 6
    """The record has moved on: another execution has it, or it has ended."""

    CANCELLED = 7
