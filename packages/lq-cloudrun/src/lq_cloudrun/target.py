"""Which job and container a record runs in; an unknown profile is an error, never the default job."""

from dataclasses import dataclass
from difflib import get_close_matches

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_core.errors import ConfigurationError
from lq_core.record import QueuedTaskRecord


class UnknownProfileError(ConfigurationError):
    """A record names a profile, or needs a default job, that the configuration does not have."""

    def __init__(self, profile: str | None, known: tuple[str, ...]) -> None:
        super().__init__(profile, known)
        self.profile = profile
        self.known = known

    def __str__(self) -> str:
        if self.profile is None and not self.known:
            return "No job is configured: set CloudRunExecutionConfig(job_name=...), or profiles={name: job}."
        if self.profile is None:
            return (
                "The record names no execution profile and there is no default job: "
                "set CloudRunExecutionConfig(job_name=...), or name one of its profiles in the task."
            )
        close = get_close_matches(self.profile, self.known, n=1)
        advice = f"Did you mean {close[0]!r}?" if close else "Add it to CloudRunExecutionConfig(profiles={...})."
        return f"There is no execution profile {self.profile!r} (here: {', '.join(self.known) or 'none'}). {advice}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One job that records are run by."""

    job: str
    """The full name, ``projects/…/locations/…/jobs/…``."""

    container: str | None = None


class Targets:
    """The jobs of one configuration, by profile."""

    def __init__(self, config: CloudRunExecutionConfig) -> None:
        self._location = f"projects/{config.project_id}/locations/{config.region}"
        self._profiles = {
            name: Target(job=self._full(job), container=config.containers.get(name, config.container))
            for name, job in config.profiles.items()
        }
        self._default = Target(job=self._full(config.job_name), container=config.container) if config.job_name else None

    def of(self, record: QueuedTaskRecord) -> Target:
        """Find the job of a record. Raises UnknownProfileError."""
        return self.named(record.execution_profile)

    def named(self, profile: str | None) -> Target:
        """Find the job of a profile; None means the default job. Raises UnknownProfileError."""
        target = self._default if profile is None else self._profiles.get(profile)
        if target is None:
            raise UnknownProfileError(profile, tuple(sorted(self._profiles)))
        return target

    def job_of(self, record: QueuedTaskRecord) -> str | None:
        """Find the job that a record is with, or would be; None when its profile is gone from the configuration."""
        if record.execution_ref is not None:
            return job_of(record.execution_ref)
        try:
            return self.of(record).job
        except UnknownProfileError:
            return None

    def jobs(self) -> tuple[str, ...]:
        """Every job once, by full name. Raises UnknownProfileError when there is none."""
        targets = [self._default, *self._profiles.values()]
        jobs = tuple(dict.fromkeys(target.job for target in targets if target is not None))
        if not jobs:
            raise UnknownProfileError(None, ())
        return jobs

    def containers(self, job: str) -> set[str]:
        """The names of the containers of a job that the configuration counts on."""
        targets = [self._default, *self._profiles.values()]
        return {each.container for each in targets if each is not None and each.job == job and each.container}

    def _full(self, job: str) -> str:
        return job if job.startswith("projects/") else f"{self._location}/jobs/{job}"


def job_of(reference: str) -> str:
    """The full name of the job that an execution, or a reservation, belongs to."""
    return reference.partition("/executions/")[0]


def log_page(execution: str) -> str:
    """Where Google's console shows the logs of an execution."""
    _, project, _, region, _, _, _, name = execution.split("/")
    return f"https://console.cloud.google.com/run/jobs/executions/details/{region}/{name}/logs?project={project}"


def names_execution(reference: str | None) -> bool:
    """Whether a reference is that of an execution, and not of the job of a reservation only."""
    return reference is not None and "/executions/" in reference
