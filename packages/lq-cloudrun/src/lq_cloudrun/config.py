"""How records become Cloud Run job executions: one value, checked when it is made."""

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from inspect import formatannotation
from typing import Final, Literal

from msgspec import ValidationError, convert

from lq_core.errors import ConfigurationError
from lq_core.lifecycle import MAX_HISTORY

TASK_ID: Final = "TASK_ID"
"""What follows ``env_prefix`` in the variable that carries the record's id."""

EPOCH: Final = "EPOCH"
"""What follows ``env_prefix`` in the variable that carries the epoch at which the container may claim."""

DRAIN: Final = "DRAIN"
"""What follows ``env_prefix`` in the variable that tells a container to drain, how and for how long."""

RESERVED_PREFIXES: Final = ("CLOUD_RUN_", "K_", "X_GOOGLE_")
LONGEST_TIMEOUT: Final = 168 * 3600
"""The longest limit of an execution, in seconds, that Cloud Run accepts."""

MOST_TASKS: Final = 10_000
"""How many containers an execution may have."""

_LOOPBACK: Final = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):\d+")
_PART: Final = r"[^/\s]+"
_JOB: Final = re.compile(rf"(projects/{_PART}/locations/{_PART}/jobs/)?[a-z]([-a-z0-9]{{0,61}}[a-z0-9])?")

GOOGLE_RUNS_PER_MINUTE: Final = 8.0
"""Below the smallest RunJob quota that has been seen on a real project, which is 10 in a minute."""

EMULATED_RUNS_PER_MINUTE: Final = 60_000.0


@dataclass(frozen=True)
class CloudRunExecutionConfig:
    """
    Which job runs a record, how long it may take, and how patient the dispatcher is.

    Give it to ``QueueConfig(execution_backends=(...,))``. Durations are in seconds. Raises ConfigurationError when a
    value cannot work; the message names it.
    """

    project_id: str
    region: str = "us-central1"
    job_name: str | None = None
    """The job of records that name no profile; None when every record has to name one."""

    profiles: dict[str, str] = field(default_factory=dict[str, str])
    """The job of each profile: a short name, or ``projects/…/locations/…/jobs/…`` for one that is elsewhere."""

    timeout: int = 300
    """The limit of an execution whose task sets no timeout of its own."""

    poll_interval: float = 5.0
    """The shortest time between two looks at one record."""

    env_prefix: str = "LITESTAR_QUEUES"
    """What the names of the container's variables begin with."""

    extra_env: dict[str, str] = field(default_factory=dict[str, str])
    """Set in every container; whoever may view executions can read it, so it is no place for secrets."""

    fallback_execution_backend: str | None = "local"
    """Where a record goes whose job is missing, forbidden or misconfigured; None to let it wait until it is mended."""

    _: KW_ONLY
    container: str | None = None
    """The container that gets the variables; needed only when the job has sidecars."""

    containers: Mapping[str, str] = field(default_factory=dict[str, str])
    """The same, by profile, where profiles differ."""

    endpoint: str | None = None
    """Host and port of an emulator on this machine; no credentials are looked for."""

    rpc_timeout: float = 30.0
    """The limit of one call of Google's API."""

    startup_margin: float = 120.0
    """
    How much longer than its task's timeout an execution may take.

    Connecting to the queue backend is in it, so that the timeout inside the process fires first and is recorded.
    """

    runs_per_minute: float | None = None
    """Executions of one job that a worker starts in a minute, to begin with; None for 8, or no limit on an emulator."""

    max_runs_per_minute: float = 180.0
    """How far that rate may rise while nothing is refused."""

    max_in_flight: int = 100
    """
    Records of one job that may be with Cloud Run at once, over all workers; a region allows 1,000 executions.

    With ``dispatch="drain"``, containers for the queues of a worker instead of records.
    """

    dispatch: Literal["each", "drain"] = "each"
    """
    ``each``: one execution for each record. ``drain``: an execution of several containers, each of which takes due
    records of the worker's queues until there are none or its time is up.
    """

    drain_tasks: int = 10
    """How many containers an execution that drains has; fewer when fewer records are due."""

    drain_concurrency: int = 1
    """How many records such a container runs at once."""

    drain_time: float = 600.0
    """How long a container that drains takes records; what it runs then has ``timeout`` seconds to end."""

    breaker_pause: float = 15.0
    """The first pause after a job refuses to be run; it doubles up to ``max_breaker_pause``."""

    max_breaker_pause: float = 300.0
    confirm_after: float = 60.0
    """When a reservation whose call was never answered is first looked for among the executions."""

    absence_margin: float = 60.0
    """How long an execution has to be absent from the list, in two looks at least, to be believed not to exist."""

    claim_check_after: float = 120.0
    """When an execution that has not claimed its record is first looked at; starts of two minutes are common."""

    claim_check_interval: float = 60.0
    start_deadline: float = 900.0
    """An execution that has not claimed its record by then is cancelled, and its record is dispatched again."""

    max_interruptions: int = 5
    """How often an execution may be stopped from outside before its record fails; likely it runs into ``timeout``."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for look in (
            self._type_problem,
            self._name_problem,
            self._dispatch_problem,
            self._number_problem,
            self._environment_problem,
        ):
            problem = look()
            if problem:
                raise ConfigurationError(f"CloudRunExecutionConfig: {problem}")

    @property
    def execution_backend(self) -> str:
        """The short name of the backend that this configures."""
        return "cloudrun"

    @property
    def task_id_variable(self) -> str:
        """The name of the variable with the record's id."""
        return f"{self.env_prefix}_{TASK_ID}"

    @property
    def epoch_variable(self) -> str:
        """The name of the variable with the epoch."""
        return f"{self.env_prefix}_{EPOCH}"

    @property
    def drain_variable(self) -> str:
        """The name of the variable that tells a container to drain."""
        return f"{self.env_prefix}_{DRAIN}"

    @property
    def pace(self) -> float:
        """Executions in a minute, to begin with."""
        if self.runs_per_minute is not None:
            return self.runs_per_minute
        return GOOGLE_RUNS_PER_MINUTE if self.endpoint is None else EMULATED_RUNS_PER_MINUTE

    def _type_problem(self) -> str | None:
        for each in fields(self):
            value = getattr(self, each.name)
            try:
                convert(value, each.type)
            except ValidationError:
                return f"{each.name} is {value!r}; it must be {formatannotation(each.type)}."
        return None

    def _name_problem(self) -> str | None:
        if not re.fullmatch(_PART, self.project_id):
            return f"project_id is {self.project_id!r}; it is the id of the project that the jobs are in."
        if not re.fullmatch(_PART, self.region):
            return f"region is {self.region!r}; it is the region that the jobs are in, such as 'us-central1'."
        for job in (self.job_name, *self.profiles.values()):
            if job is not None and not _JOB.fullmatch(job):
                return (
                    f"{job!r} is not the name of a job; give it as `gcloud run jobs list` does, such as 'reports', "
                    "or in full: 'projects/…/locations/…/jobs/…'."
                )
        for profile in self.containers:
            if profile not in self.profiles:
                return f"containers names {profile!r}, which is no profile; add it to profiles, or set container."
        if not self.env_prefix.isidentifier():
            return f"env_prefix is {self.env_prefix!r}; variables cannot begin so. Use letters, digits and underscores."
        if self.endpoint is not None and not _LOOPBACK.fullmatch(self.endpoint):
            return (
                f"endpoint is {self.endpoint!r}; it is for an emulator on this machine only, such as '127.0.0.1:8085'. "
                "For Google's own service leave it out."
            )
        return None

    def _dispatch_problem(self) -> str | None:
        if self.dispatch == "drain" and self.profiles:
            return (
                "profiles do not go with dispatch='drain', since a container takes whatever its queues hold. "
                "Set job_name, and give each size of container a worker of its own, with QueueConfig(queues=...)."
            )
        if self.fallback_execution_backend == self.execution_backend:
            return "fallback_execution_backend is 'cloudrun', which is what failed; name another one, or None to wait."
        return None

    def _number_problem(self) -> str | None:
        positive = {
            "timeout": self.timeout,
            "poll_interval": self.poll_interval,
            "rpc_timeout": self.rpc_timeout,
            "runs_per_minute": self.pace,
            "max_runs_per_minute": self.max_runs_per_minute,
            "max_in_flight": self.max_in_flight,
            "drain_tasks": self.drain_tasks,
            "drain_concurrency": self.drain_concurrency,
            "drain_time": self.drain_time,
            "breaker_pause": self.breaker_pause,
            "start_deadline": self.start_deadline,
            "max_interruptions": self.max_interruptions,
        }
        for name, value in positive.items():
            if not 0 < value < math.inf:
                return f"{name} is {value!r}; it must be greater than 0, and finite."
        if self.timeout > LONGEST_TIMEOUT:
            return f"timeout is {self.timeout!r}; Cloud Run allows {LONGEST_TIMEOUT} s at most."
        if self.max_interruptions > MAX_HISTORY:
            return f"max_interruptions is {self.max_interruptions!r}; a record remembers {MAX_HISTORY} at most."
        if self.drain_tasks > MOST_TASKS:
            return f"drain_tasks is {self.drain_tasks!r}; Cloud Run allows {MOST_TASKS} at most."
        not_negative = {
            "startup_margin": self.startup_margin,
            "confirm_after": self.confirm_after,
            "absence_margin": self.absence_margin,
            "claim_check_after": self.claim_check_after,
            "claim_check_interval": self.claim_check_interval,
        }
        for name, value in not_negative.items():
            if not 0 <= value < math.inf:
                return f"{name} is {value!r}; it must not be negative, and finite."
        return None

    def _environment_problem(self) -> str | None:
        own = {self.task_id_variable, self.epoch_variable, self.drain_variable}
        for name in self.extra_env:
            if not name or "=" in name:
                return f"extra_env sets {name!r}, which is no name of a variable."
            if name in own:
                return f"extra_env sets {name}, which tells the container its work; choose another name."
            if name == "PORT" or name.startswith(RESERVED_PREFIXES):
                return f"extra_env sets {name}, which Cloud Run keeps for itself; choose another name."
        return None
