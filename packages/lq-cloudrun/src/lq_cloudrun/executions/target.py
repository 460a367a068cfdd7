"""Finds the job and container of a record. An unknown profile is an error, never the default job."""

from msgspec import Struct

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_core.foundation.errors import ConfigurationError, alike
from lq_core.records.record import QueuedTaskRecord


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
        close = alike(self.profile, self.known)
        advice = f"Did you mean {close[0]!r}?" if close else "Add it to CloudRunExecutionConfig(profiles={...})."
        return f"There is no execution profile {self.profile!r} (here: {', '.join(self.known) or 'none'}). {advice}"


class Target(Struct, frozen=True, kw_only=True):
    """One job, and the container of it that runs records."""

    job: str
    """The full name, ``projects/…/locations/…/jobs/…``."""

    container: str | None = None


class Targets:
    """The jobs of one configuration, by profile; the default job has the profile None."""

    def __init__(self, config: CloudRunExecutionConfig) -> None:
        location = f"projects/{config.project_id}/locations/{config.region}/jobs/"
        jobs = {None: config.job_name, **config.profiles}
        self._by_profile = {
            profile: Target(
                job=job if job.startswith("projects/") else location + job,
                container=config.containers.get(profile or "", config.container),
            )
            for profile, job in jobs.items()
            if job
        }

    def of(self, record: QueuedTaskRecord) -> Target:
        """Find the job of a record. Raises UnknownProfileError."""
        return self.named(record.execution_profile)

    def named(self, profile: str | None) -> Target:
        """Find the job of a profile. Raises UnknownProfileError."""
        if profile not in self._by_profile:
            raise UnknownProfileError(profile, tuple(sorted(filter(None, self._by_profile))))
        return self._by_profile[profile]

    def job_of(self, record: QueuedTaskRecord) -> str | None:
        """Find the job that has a record, or would get it; None if the configuration lacks its profile."""
        if record.execution_ref is not None:
            return job_of(record.execution_ref)
        target = self._by_profile.get(record.execution_profile)
        return target.job if target else None

    def jobs(self) -> tuple[str, ...]:
        """Return the full name of each job. Raises UnknownProfileError if there is none."""
        if not self._by_profile:
            raise UnknownProfileError(None, ())
        return tuple(dict.fromkeys(target.job for target in self._by_profile.values()))

    def containers(self, job: str) -> set[str]:
        """Return the names of the containers of a job that the configuration names."""
        return {each.container for each in self._by_profile.values() if each.job == job and each.container}


def job_of(reference: str) -> str:
    """Return the full name of the job of an execution or a reservation."""
    return reference.partition("/executions/")[0]


def log_page(execution: str) -> str:
    """Return the page of Google's console with the logs of an execution."""
    _, project, _, region, _, _, _, name = execution.split("/")
    return f"https://console.cloud.google.com/run/jobs/executions/details/{region}/{name}/logs?project={project}"


def names_execution(reference: str | None) -> bool:
    """Whether a reference names an execution, and not only the job of a reservation."""
    return reference is not None and "/executions/" in reference
