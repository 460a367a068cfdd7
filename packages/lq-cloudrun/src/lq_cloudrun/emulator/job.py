"""
What an emulated job is: a command, and the settings Cloud Run keeps on a job.

A job is a value. It is checked when it is made, so that a mistake shows where it was written.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lq_cloudrun.emulator.environment import refusal

LONGEST_TIMEOUT: Final = 168 * 3600.0
"""The longest time, in seconds, that Cloud Run lets one attempt of a task take."""

MOST_RETRIES: Final = 10
MOST_TASKS: Final = 10_000

_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class EmulatedJob:
    """
    One job that the emulator knows, run as a local process instead of a container.

    The defaults are those of Cloud Run, also where they surprise: a failed task is retried three times.
    """

    name: str
    """The short name, such as ``"reports"``: small letters, digits and dashes."""

    command: Sequence[str]
    """The program and its first arguments; nothing is passed through a shell."""

    args: Sequence[str] = ()
    """Follows the command; an execution may replace it."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """The whole environment of the process, beside ``CLOUD_RUN_*`` and a minimal ``PATH``."""

    timeout: float = 600.0
    """Seconds that one attempt of a task may take."""

    max_retries: int = 3
    """How often a failed task is started again; 0 for never."""

    task_count: int = 1
    """How many tasks one execution has."""

    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""

    start_delay: float = 0.0
    """Seconds between the creation of an execution and the start of its processes."""

    container: str = ""
    """The container's name; needed when there are sidecars."""

    sidecars: Sequence[str] = ()
    """Names of further containers of the job; they are known by name and never run."""

    working_directory: Path | None = None
    """Where the process runs; None for where the emulator runs."""

    image: str = "emulated"
    """What is reported as the container's image; never pulled."""

    def __post_init__(self) -> None:
        """Refuse what Cloud Run would refuse."""
        complaint = self._complaint()
        if complaint:
            msg = f"The job {self.name!r} cannot be emulated: {complaint}"
            raise ValueError(msg)

    def _complaint(self) -> str | None:
        checks = (
            (
                _NAME.fullmatch(self.name) is not None,
                "its name must begin with a small letter, and hold at most 49 small letters, digits and dashes.",
            ),
            (
                not isinstance(self.command, str) and len(self.command) > 0,
                "its command must be a list such as ['python', '-m', 'shop.worker'].",
            ),
            (
                0 < self.timeout <= LONGEST_TIMEOUT,
                f"its timeout must lie between 0 and {LONGEST_TIMEOUT:.0f} seconds.",
            ),
            (0 <= self.max_retries <= MOST_RETRIES, f"max_retries must lie between 0 and {MOST_RETRIES}."),
            (1 <= self.task_count <= MOST_TASKS, f"task_count must lie between 1 and {MOST_TASKS}."),
            (self.grace >= 0 and self.start_delay >= 0, "grace and start_delay cannot be negative."),
            (not self.sidecars or bool(self.container), "a job with sidecars must name its own container."),
            (self.container not in self.sidecars, "two containers cannot have the same name."),
        )
        for right, complaint in checks:
            if not right:
                return complaint
        return refusal(self.env.items())
