"""The settings of Cloud Run execution: one value, checked when it is made."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from lq_cloudrun.clients import ClientFactory
from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.duration import StoredAs, duration, whole_seconds
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.validation import Count, PositiveSecondsField, SecondsField, check, refuse_unknown_fields
from lq_core.records.history import MAX_HISTORY

LONGEST_TIMEOUT: Final = 168 * 3600
"""The longest limit of an execution, in seconds, that Cloud Run accepts."""

GOOGLE_RUNS_PER_MINUTE: Final = 8.0
"""Below the smallest known quota of RunJob on a real project, which is 10 per minute."""

EMULATED_RUNS_PER_MINUTE: Final = 60_000.0

_PREFIX: Final = "CloudRunExecutionConfig: "
_PART: Final = r"[^/\s]+"
_Project: TypeAlias = Annotated[
    str, Meta(pattern=rf"^{_PART}\Z", description="the id of the project that the jobs are in, such as 'shop-1234'")
]
_Region: TypeAlias = Annotated[
    str, Meta(pattern=rf"^{_PART}\Z", description="the region that the jobs are in, such as 'us-central1'")
]
_Job: TypeAlias = Annotated[
    str,
    Meta(
        pattern=rf"^(projects/{_PART}/locations/{_PART}/jobs/)?[a-z]([-a-z0-9]{{0,61}}[a-z0-9])?\Z",
        description="the name of a job as `gcloud run jobs list` shows it, such as 'reports', or in full: "
        "'projects/…/locations/…/jobs/…'",
    ),
]
_Profiles: TypeAlias = Annotated[
    dict[str, _Job],
    Meta(description="a dict from profiles to the names of jobs: 'reports' or 'projects/…/locations/…/jobs/…'"),
]
_Prefix: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^(?!(K|CLOUD_RUN|X_GOOGLE)(_|\Z))[^\W\d]\w*\Z",
        description="letters, digits and underscores that do not begin with a digit, nor with K_, CLOUD_RUN_ or "
        "X_GOOGLE_, which Cloud Run reserves",
    ),
]
_Endpoint: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^(127\.0\.0\.1|localhost|\[::1\]):\d+\Z",
        description="the address of an emulator on this machine, such as '127.0.0.1:8085'",
    ),
]
_Host: TypeAlias = Annotated[
    str,
    Meta(pattern=r"^[^\s:/]+\Z", description="a name such as 'europe-west1-run.googleapis.com', without 'https://'"),
]
_Account: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^[^\s@]+@[^\s@]+\Z", description="the address of an account, 'name@project.iam.gserviceaccount.com'"
    ),
]
_Variables: TypeAlias = Annotated[
    dict[Annotated[str, Meta(pattern=r"^[^=]+\Z")], str],
    Meta(description="a dict from the names of variables, without '=', to their text"),
]
_Rate: TypeAlias = Annotated[float, Meta(gt=0, le=1e9, description="a number greater than 0, at most 1e9")]


def _up_to(most: int, why: str, *, what: str = "a whole number") -> Meta:
    return Meta(ge=1, le=most, description=f"{what} from 1 to {most}, the most that {why}")


_Timeout: TypeAlias = Annotated[
    StoredAs[int | timedelta, int], _up_to(LONGEST_TIMEOUT, "Cloud Run allows", what="a whole number of seconds")
]
_Tasks: TypeAlias = Annotated[int, _up_to(10_000, "Cloud Run allows")]
_Interruptions: TypeAlias = Annotated[int, _up_to(MAX_HISTORY, "a record remembers")]


def is_reserved(variable: str) -> bool:
    """Whether Cloud Run keeps the name of a variable for itself."""
    return variable == "PORT" or variable.startswith(("CLOUD_RUN_", "K_", "X_GOOGLE_"))


@refuse_unknown_fields
@dataclass(frozen=True)
class CloudRunExecutionConfig:
    """
    Which job runs a record, how long an execution may take, and how long the dispatcher waits.

    Give it to ``QueueConfig(execution_backends=(...,))``. Durations are seconds or a ``timedelta``. Raises
    ConfigurationError when a value cannot work; the message names the field.
    """

    project_id: _Project
    region: _Region = "us-central1"
    job_name: _Job | None = None
    """The job of records that name no profile; None if every record has to name one."""

    profiles: _Profiles = field(default_factory=dict[str, str])
    """The job of each profile: a short name, or ``projects/…/locations/…/jobs/…`` for a job elsewhere."""

    timeout: _Timeout = StoredAs(300, whole_seconds)
    """The limit of an execution whose task sets no timeout of its own."""

    poll_interval: PositiveSecondsField = duration(5.0)
    """The shortest time between two looks at one record."""

    env_prefix: _Prefix = "LITESTAR_QUEUES"
    """The beginning of the names of the container's variables."""

    extra_env: _Variables = field(default_factory=dict[str, str])
    """More variables for every container. Put no secrets here: all users who may view executions can read them."""

    fallback_execution_backend: str | None = "local"
    """
    Where a record without a profile goes if its job is missing, forbidden or misconfigured in two looks that are
    ``breaker_pause`` apart; None to let it wait for the repair.
    """

    _: KW_ONLY
    container: str | None = None
    """The container that gets the variables; needed only when the job has sidecars."""

    containers: Mapping[str, str] = field(default_factory=dict[str, str])
    """The same, by profile, where profiles differ."""

    endpoint: _Endpoint | None = None
    """Host and port of an emulator on this machine. lq then looks for no credentials."""

    rpc_timeout: PositiveSecondsField = duration(30.0)
    """The limit of one call of Google's API."""

    startup_margin: SecondsField = duration(120.0)
    """
    How much longer than the timeout of its task an execution may take.

    It covers the connection to the queue backend, so that the timeout inside the process fires first and is recorded.
    """

    runs_per_minute: _Rate | None = None
    """The executions of one job per minute, to begin with; None for 8, or for no limit on an emulator."""

    max_runs_per_minute: _Rate = 180.0
    """How far that rate may rise while Cloud Run refuses nothing."""

    max_in_flight: Count = 100
    """
    The most records of one job that are with Cloud Run at once, over all workers; a region allows 1,000 executions.

    With ``dispatch="pull"``, the most containers for the queues of a worker.
    """

    dispatch: Literal["each", "pull"] = "each"
    """
    ``each``: one execution for each record. ``pull``: an execution of several containers, each of which takes due
    records of the worker's queues until there are none or its time is up.
    """

    pull_tasks: _Tasks = 10
    """The containers of an execution in pull mode; fewer when fewer records are due."""

    pull_concurrency: Count = 1
    """How many records such a container runs at once."""

    pull_time: PositiveSecondsField = duration(600.0)
    """How long a container in pull mode takes records. The tasks that run then have ``timeout`` seconds to end."""

    profiles_fall_back: bool = False
    """Whether the fallback also gets records that name a profile, and so memory or processors that it may lack."""

    on_console_cancel: Literal["retry", "cancel"] = "retry"
    """
    What it means for a record that somebody cancels its execution, as in the console: ``retry`` dispatches it again,
    ``cancel`` cancels it. Cancelling the record itself does not need this.
    """

    api_host: _Host | None = None
    """The host of Google's API, such as the regional ``europe-west1-run.googleapis.com``; None for the global one."""

    universe_domain: _Host | None = None
    """The domain of Google's services in another universe; None for that of the credentials."""

    quota_project: _Project | None = None
    """The project whose quota the calls use; None for that of the credentials."""

    impersonate: _Account | None = None
    """The e-mail address of the service account that makes the calls; None for that of this machine."""

    clients: ClientFactory | None = None
    """Makes the clients instead, in the event loop that uses them; then no field says where and how to connect."""

    breaker_pause: PositiveSecondsField = duration(15.0)
    """The first pause after a job refuses to run; it doubles up to ``max_breaker_pause``."""

    max_breaker_pause: SecondsField = duration(300.0)
    confirm_after: SecondsField = duration(60.0)
    """When to look first for the execution of a reservation whose call was never answered."""

    absence_margin: SecondsField = duration(60.0)
    """How long an execution has to be absent from the list, in two looks at least, before it counts as missing."""

    claim_check_after: SecondsField = duration(60.0)
    """When to look first at an execution that has not claimed its record, although starts of two minutes are common."""

    claim_check_interval: SecondsField = duration(60.0)
    start_deadline: PositiveSecondsField = duration(900.0)
    """An execution that has not claimed its record by then is cancelled, and its record is dispatched again."""

    max_interruptions: _Interruptions = 5
    """How often an execution may be stopped from outside before its record fails: it may run into ``timeout``."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        check(self, prefix=_PREFIX)
        if problem := self._problem():
            raise ConfigurationError(f"{_PREFIX}{problem}")

    @classmethod
    def of(cls, config: QueueConfig) -> "CloudRunExecutionConfig | None":
        """Find the configuration of Cloud Run in that of a queue."""
        settings = (config.execution_backend, *config.execution_backends)
        return next((each for each in settings if isinstance(each, cls)), None)

    @property
    def execution_backend(self) -> str:
        """The short name of the backend that this configures."""
        return "cloudrun"

    @property
    def task_id_variable(self) -> str:
        """The name of the variable with the id of the record."""
        return f"{self.env_prefix}_TASK_ID"

    @property
    def epoch_variable(self) -> str:
        """The name of the variable with the epoch at which the container may claim the record."""
        return f"{self.env_prefix}_EPOCH"

    @property
    def pull_variable(self) -> str:
        """The name of the variable with the order to pull."""
        return f"{self.env_prefix}_PULL"

    @property
    def cancel_variable(self) -> str:
        """The name of the variable with the seconds within which SIGTERM cancels the record."""
        return f"{self.env_prefix}_CANCEL_WITHIN"

    @property
    def pace(self) -> float:
        """The number of executions per minute, to begin with."""
        if self.runs_per_minute is not None:
            return self.runs_per_minute
        return GOOGLE_RUNS_PER_MINUTE if self.endpoint is None else EMULATED_RUNS_PER_MINUTE

    def _problem(self) -> str | None:
        for profile in self.containers:
            if profile not in self.profiles:
                return f"containers names {profile!r}, which is not a profile; add it to profiles, or set container."
        if self.dispatch == "pull" and self.profiles:
            return (
                "profiles cannot be used with dispatch='pull', because a container takes any record of its queues. "
                "Set job_name, and give each size of container a worker of its own, with QueueConfig(queues=...)."
            )
        if self.dispatch == "pull" and self.on_console_cancel == "cancel":
            return (
                "on_console_cancel='cancel' cannot be used with dispatch='pull': an execution holds many records. "
                "Cancel the records instead: lq records cancel."
            )
        if self.fallback_execution_backend == self.execution_backend:
            return "fallback_execution_backend is 'cloudrun', which is what failed; name another one, or None to wait."
        own = {self.task_id_variable, self.epoch_variable, self.pull_variable, self.cancel_variable}
        for name in self.extra_env:
            if name in own:
                return f"extra_env sets {name}, which tells the container its work; choose another name."
            if is_reserved(name):
                return f"extra_env sets {name}, which Cloud Run reserves; choose another name."
        return self._problem_of_clients()

    def _problem_of_clients(self) -> str | None:
        ways = (self.api_host, self.universe_domain, self.quota_project, self.impersonate)
        if self.endpoint is not None and any((*ways, self.clients)):
            return "endpoint names an emulator, which needs neither credentials nor clients; set only one of them."
        if self.clients is not None and any(ways):
            return "clients makes the clients, so set their host, project and account there."
        return None
