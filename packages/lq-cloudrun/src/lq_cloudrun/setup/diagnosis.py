"""
The findings of Cloud Run for ``lq doctor``: the problems of the jobs, and the commands that solve them.

The checks start nothing and change nothing.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from lq_cloudrun.clients import CloudRunClients, ExecutionsClient
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.executions.target import Targets, UnknownProfileError
from lq_cloudrun.google.refusal import code_of, line_of
from lq_cloudrun.setup.gcloud import create_command, grant_commands, update_command
from lq_core.execution import get_execution_backend_class
from lq_core.foundation.errors import QueueError, StorageError
from lq_core.queue import BaseQueueBackend, Finding, RecordFilter
from lq_core.records.record import TaskStatus

PERMISSIONS: Final = ("run.jobs.run", "run.jobs.runWithOverrides", "run.executions.cancel")
LARGEST_QUOTA: Final = 180
"""The largest known quota of RunJob, in calls per minute; the smallest is 10."""

SAMPLE: Final = 1_000
"""How many of the newest pending records are searched for profiles that do not exist."""

DISPATCHER: Final = "DISPATCHER@PROJECT.iam.gserviceaccount.com"

SIGN_IN: Final = "Check the network and the credentials of this machine: gcloud auth application-default login"


async def diagnose(config: CloudRunExecutionConfig, clients: Callable[[], Awaitable[CloudRunClients]]) -> list[Finding]:
    """Check the configuration, then each job that it names."""
    findings = [_limits(config), *_fallback(config)]
    try:
        jobs = Targets(config).jobs()
    except UnknownProfileError as error:
        return [*findings, Finding.of("Cloud Run jobs", "none", advice=str(error))]
    try:
        connected = await clients()
    except QueueError as error:
        return [*findings, Finding.of("Cloud Run client", "cannot connect", advice=str(error))]
    for job in jobs:
        findings += await _Job(job, config, connected.jobs, connected.executions).diagnose()
    return findings


async def misspelt_profiles(
    config: CloudRunExecutionConfig, queue: BaseQueueBackend, execution_backend: str
) -> list[Finding]:
    """Find the profiles for which records wait and that the configuration does not have. Without a queue: nothing."""
    condition = RecordFilter(statuses=(TaskStatus.PENDING,), execution_backends=(execution_backend,))
    try:
        records = await queue.find(condition, limit=SAMPLE)
    except StorageError:
        return []  # `lq-cloudrun doctor` works without the queue, and `lq doctor` reports its state.
    targets, findings = Targets(config), list[Finding]()
    for profile, number in Counter(record.execution_profile for record in records).items():
        try:
            targets.named(profile)
        except UnknownProfileError as error:
            waiting = f"{number} record{'s wait' if number > 1 else ' waits'} for "
            wanted = "the default job" if profile is None else f"the profile {profile!r}"
            findings.append(Finding.of("Cloud Run profiles", waiting + wanted, advice=str(error)))
    return findings


def _limits(config: CloudRunExecutionConfig) -> Finding:
    most = config.max_runs_per_minute
    found = (
        f"for each job at most {most:g} starts per minute and {config.max_in_flight} executions at once; "
        f"{config.timeout} s for an execution, unless the task sets a timeout"
    )
    advice = f"Quotas of RunJob are 10 to {LARGEST_QUOTA} per minute. Lower max_runs_per_minute, or request more quota."
    return Finding.of("Cloud Run limits", found, advice=advice if most > LARGEST_QUOTA else None)


def _fallback(config: CloudRunExecutionConfig) -> list[Finding]:
    fallback = config.fallback_execution_backend
    if fallback is None:
        return []
    try:
        get_execution_backend_class(fallback)
    except QueueError as error:
        return [Finding.of("Cloud Run fallback", f"{fallback!r} is not installed here", advice=str(error))]
    return [Finding.of("Cloud Run fallback", fallback)]


@dataclass
class _Job:
    """The checks of one job."""

    _job: str
    _config: CloudRunExecutionConfig
    _jobs: Any
    _executions: ExecutionsClient

    async def diagnose(self) -> list[Finding]:
        """Check that the job exists, fits the configuration, and can be used with these credentials."""
        try:
            found: Any = await self._jobs.get_job(name=self._job, timeout=self._config.rpc_timeout)
        except Exception as error:  # noqa: BLE001 -- the error is the finding
            return [self._unreadable(error)]
        return [
            self._finding("", "exists"),
            *self._settings(found.template),
            *self._containers(found.template.template),
            *self._variables(found.template.template),
            await self._permissions(),
            await self._list(),
        ]

    def _finding(self, part: str, found: str, advice: str | None = None) -> Finding:
        return Finding.of(f"job {self._job.rpartition('/')[2]}{part and ': '}{part}", found, advice=advice)

    def _unreadable(self, error: Exception) -> Finding:
        match code_of(error):
            case "NOT_FOUND":
                command = create_command(self._job, self._config, image="IMAGE")
                return self._finding("", f"{self._job} does not exist", f"Create it:\n{command}")
            case "PERMISSION_DENIED":
                return self._finding("", f"{self._job} cannot be read: permission denied", self._grant())
            case _:
                return self._finding("", f"{self._job} cannot be read: {line_of(error)}", SIGN_IN)

    def _settings(self, template: Any) -> list[Finding]:
        if self._config.dispatch == "pull":
            return []
        findings: list[Finding] = []
        retries, exit_policy = template.template.max_retries, f"{self._config.env_prefix}_EXIT_POLICY"
        if retries and self._environment(template.template).get(exit_policy) != "recorded":
            found = f"Cloud Run restarts a failed container up to {retries} times, without the backoff of the queue"
            findings.append(self._finding("retries", found, update_command(self._job, "--max-retries=0")))
        if template.task_count > 1:
            found = f"each record starts {template.task_count} containers, and all but the first do nothing"
            findings.append(self._finding("tasks", found, update_command(self._job, "--tasks=1")))
        return findings

    def _containers(self, task: Any) -> list[Finding]:
        names = {str(each.name) for each in task.containers if each.name}
        wanted = Targets(self._config).containers(self._job)
        if wanted <= names and (wanted or len(names) <= 1):
            return []
        there, expected = ", ".join(sorted(names)) or "one without a name", ", ".join(sorted(wanted)) or "only one"
        advice = "Give the container that runs records the same name in the job and in the configuration (container=)."
        return [self._finding("containers", f"the job has {there}; the configuration expects {expected}", advice)]

    def _variables(self, task: Any) -> list[Finding]:
        prefix = self._config.env_prefix
        if {f"{prefix}_CONFIG", f"{prefix}_CONFIG_FACTORY", "LQ_CONFIG"} & self._environment(task).keys():
            return []
        command = update_command(self._job, "--update-env-vars=LQ_CONFIG=MODULE:CONFIG")
        advice = f"Unless the image sets it, run: {command}"
        # The image may set it: no warning.
        return [
            replace(self._finding("queue", f"the job does not set {prefix}_CONFIG or LQ_CONFIG", advice), level="ok")
        ]

    async def _permissions(self) -> Finding:
        request = {"resource": self._job, "permissions": list(PERMISSIONS)}
        try:
            answer: Any = await self._jobs.test_iam_permissions(request=request, timeout=self._config.rpc_timeout)
        except Exception as error:  # noqa: BLE001 -- the error is the finding
            return self._finding("permissions", f"cannot be checked: {line_of(error)}", SIGN_IN)
        missing = [permission for permission in PERMISSIONS if permission not in answer.permissions]
        if missing:
            return self._finding("permissions", f"missing: {', '.join(missing)}", self._grant())
        return self._finding("permissions", "you may run it, override its settings and cancel its executions")

    async def _list(self) -> Finding:
        request = {"parent": self._job, "page_size": 1}
        try:
            await self._executions.list_executions(request=request, timeout=self._config.rpc_timeout)
        except Exception as error:  # noqa: BLE001 -- the error is the finding
            return self._finding("executions", f"cannot be listed: {line_of(error)}", self._grant())
        return self._finding("executions", "can be listed")

    def _environment(self, task: Any) -> dict[str, str]:
        set_by_job = {str(each.name): str(each.value) for container in task.containers for each in container.env}
        return set_by_job | self._config.extra_env

    def _grant(self) -> str:
        commands = "\n".join(grant_commands(self._job, DISPATCHER))
        return f"Grant the roles to the service account of the workers:\n{commands}"
