"""
An emulated job: a command, and the settings that Cloud Run keeps for a job.

A job is a value. Its constructor checks it, so that a mistake shows where you wrote it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lq_cloudrun.config import LONGEST_TIMEOUT
from lq_cloudrun.emulator.environment import refusal
from lq_cloudrun.emulator.rules import LABEL, MOST_ARGUMENTS, MOST_RETRIES, MOST_TASKS, NAME, is_timeout


@dataclass(frozen=True, kw_only=True, slots=True)
class EmulatedJob:
    """
    One job, which the emulator runs as a local process instead of a container.

    The defaults are those of Cloud Run, also where they surprise: a failed task is retried three times.
    """

    name: str
    """The short name, for example ``"reports"``: small letters, digits and dashes."""

    command: Sequence[str]
    """The program and its first arguments, without a shell."""

    args: Sequence[str] = ()
    """The arguments after the command; an execution may replace them."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """The whole environment of the process, besides ``CLOUD_RUN_*`` and a minimal ``PATH``."""

    timeout: float = 600.0
    """Whole seconds that one attempt of a task may take."""

    max_retries: int = 3
    """How often the emulator starts a failed task again; 0 for never."""

    task_count: int = 1
    """The number of tasks of one execution."""

    parallelism: int = 0
    """How many of them run at once; 0 for all."""

    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""

    start_delay: float = 0.0
    """Seconds between the creation of an execution and the start of its processes."""

    container: str = ""
    """The name of the container; needed when there are sidecars."""

    sidecars: Sequence[str] = ()
    """The names of further containers of the job. The emulator does not run them."""

    working_directory: Path | None = None
    """The working directory of the process; None for that of the emulator."""

    image: str = "emulated"
    """The image that the API shows for the container. The emulator does not pull it."""

    def __post_init__(self) -> None:
        """Refuse a job that Cloud Run would refuse."""
        complaint = self._complaint()
        if complaint:
            msg = f"The job {self.name!r} cannot be emulated: {complaint}"
            raise ValueError(msg)

    def _complaint(self) -> str | None:
        checks = (
            (
                re.fullmatch(NAME, self.name) is not None,
                "its name must begin with a small letter, and hold at most 49 small letters, digits and dashes.",
            ),
            (
                not isinstance(self.command, str) and len(self.command) > 0,
                "its command must be a list such as ['python', '-m', 'shop.worker'].",
            ),
            (
                is_timeout(self.timeout),
                f"its timeout must be a whole number of seconds from 1 to {LONGEST_TIMEOUT}.",
            ),
            (0 <= self.max_retries <= MOST_RETRIES, f"max_retries must lie between 0 and {MOST_RETRIES}."),
            (1 <= self.task_count <= MOST_TASKS, f"task_count must lie between 1 and {MOST_TASKS}."),
            (0 <= self.parallelism <= self.task_count, "parallelism must lie between 0 and task_count."),
            (len(self.args) <= MOST_ARGUMENTS, f"it may have at most {MOST_ARGUMENTS} arguments."),
            (
                all(re.fullmatch(LABEL, name) for name in filter(None, (self.container, *self.sidecars))),
                "the name of a container must be a DNS label: at most 63 small letters, digits and dashes.",
            ),
            (self.grace >= 0 and self.start_delay >= 0, "grace and start_delay cannot be negative."),
            (not self.sidecars or bool(self.container), "a job with sidecars must name its own container."),
            (
                len({self.container, *self.sidecars}) == 1 + len(self.sidecars),
                "two containers cannot have the same name.",
            ),
        )
        for right, complaint in checks:
            if not right:
                return complaint
        return refusal(self.env.items())
