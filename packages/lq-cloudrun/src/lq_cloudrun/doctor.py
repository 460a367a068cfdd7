"""
Looks at the jobs of a configuration before a record does, and says what to mend and how.

It starts nothing and changes nothing.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from lq_cloudrun.clients import ExecutionsClient
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.definitions import Wanted, create_command, grant_commands
from lq_cloudrun.google_clients import GoogleClients, connect
from lq_cloudrun.refusal import code_of
from lq_cloudrun.target import Targets, UnknownProfileError
from lq_core.errors import QueueError
from lq_core.execution import get_execution_backend_class

PERMISSIONS: Final = ("run.jobs.run", "run.jobs.runWithOverrides", "run.executions.cancel")
LARGEST_QUOTA: Final = 180
"""Calls of RunJob in a minute: the most that a project has been seen to have; the least is 10."""

SOMEBODY: Final = Wanted(image="IMAGE", dispatcher="DISPATCHER@PROJECT.iam.gserviceaccount.com")


class Health(StrEnum):
    """How a finding is meant."""

    WELL = "ok"
    DOUBT = "warning"
    ILL = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    health: Health
    what: str
    remedy: str = ""
    """A command or a setting that mends it."""


async def examine(config: CloudRunExecutionConfig) -> AsyncIterator[Finding]:
    """Look at everything, one finding after the other."""
    try:
        jobs = Targets(config).jobs()
    except UnknownProfileError as error:
        yield Finding(health=Health.ILL, what=str(error))
        jobs = ()
    if config.fallback_execution_backend is not None:
        try:
            get_execution_backend_class(config.fallback_execution_backend)
        except QueueError as error:
            yield Finding(health=Health.ILL, what="The fallback is not installed here.", remedy=str(error))
    yield _examine_limits(config)
    try:
        clients = await connect(config.endpoint)
    except QueueError as error:
        yield Finding(health=Health.ILL, what=str(error))
        return
    try:
        for job in jobs:
            async for finding in _examine_job(job, config, clients):
                yield finding
    finally:
        await clients.close()


def _examine_limits(config: CloudRunExecutionConfig) -> Finding:
    most = config.max_runs_per_minute
    what = (
        f"Up to {most:g} executions are started in a minute and {config.max_in_flight} are in flight at once, for each "
        f"job; one may take {config.timeout} s where its task says nothing else."
    )
    if most <= LARGEST_QUOTA:
        return Finding(health=Health.WELL, what=what)
    remedy = f"Quotas of RunJob are 10 to {LARGEST_QUOTA} a minute: lower max_runs_per_minute, or ask for more quota."
    return Finding(health=Health.DOUBT, what=what, remedy=remedy)


async def _examine_job(job: str, config: CloudRunExecutionConfig, clients: GoogleClients) -> AsyncIterator[Finding]:
    client: Any = clients.jobs
    try:
        found: Any = await client.get_job(name=job, timeout=config.rpc_timeout)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is the finding
        yield _not_found(job, config, error)
        return
    yield Finding(health=Health.WELL, what=f"{job} is there.")
    for finding in _read_job(job, config, found.template):
        yield finding
    yield await _examine_permissions(job, config, client)
    yield await _examine_list(job, config, clients.executions)


def _not_found(job: str, config: CloudRunExecutionConfig, error: Exception) -> Finding:
    if code_of(error) == "NOT_FOUND":
        return Finding(health=Health.ILL, what=f"{job} does not exist.", remedy=create_command(job, config, SOMEBODY))
    if code_of(error) == "PERMISSION_DENIED":
        remedy = "\n".join(grant_commands(job, SOMEBODY.dispatcher))
        return Finding(health=Health.ILL, what=f"{job} may not be looked at.", remedy=remedy)
    return Finding(health=Health.ILL, what=f"{job} cannot be looked at: {type(error).__name__}: {error}")


def _read_job(job: str, config: CloudRunExecutionConfig, template: Any) -> list[Finding]:
    findings: list[Finding] = []
    task = template.template
    names = {str(each.name) for each in task.containers if each.name}
    env = {str(each.name): str(each.value) for container in task.containers for each in container.env}
    env |= config.extra_env
    update = (
        f"gcloud run jobs update {job.rpartition('/')[2]} --project={job.split('/')[1]} --region={job.split('/')[3]}"
    )
    if config.dispatch == "each" and task.max_retries and env.get(f"{config.env_prefix}_EXIT_POLICY") != "recorded":
        what = (
            f"{job} restarts a container that failed up to {task.max_retries} times; the queue retries by itself, "
            "with backoff."
        )
        findings.append(Finding(health=Health.DOUBT, what=what, remedy=f"{update} --max-retries=0"))
    if template.task_count > 1 and config.dispatch == "each":
        what = f"{job} starts {template.task_count} containers for each record; all but the first do nothing."
        findings.append(Finding(health=Health.DOUBT, what=what, remedy=f"{update} --tasks=1"))
    wanted = Targets(config).containers(job)
    if wanted - names or (len(names) > 1 and not wanted):
        there = ", ".join(sorted(names)) or "one without a name"
        what = f"{job} has these containers: {there}; the configuration counts on {sorted(wanted) or 'only one'}."
        findings.append(
            Finding(
                health=Health.ILL,
                what=what,
                remedy="Name the one that runs records alike in the job and in CloudRunExecutionConfig(container=...).",
            )
        )
    if not {f"{config.env_prefix}_CONFIG", f"{config.env_prefix}_CONFIG_FACTORY"} & env.keys():
        what = f"{job} does not set {config.env_prefix}_CONFIG; unless its image does, a container finds no queue."
        remedy = f"{update} --update-env-vars={config.env_prefix}_CONFIG=MODULE:ATTRIBUTE"
        findings.append(Finding(health=Health.DOUBT, what=what, remedy=remedy))
    return findings


async def _examine_permissions(job: str, config: CloudRunExecutionConfig, client: Any) -> Finding:
    try:
        request = {"resource": job, "permissions": list(PERMISSIONS)}
        answer: Any = await client.test_iam_permissions(request=request, timeout=config.rpc_timeout)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is the finding
        what = f"The permissions on {job} cannot be checked: {code_of(error) or type(error).__name__}."
        return Finding(health=Health.DOUBT, what=what)
    missing = sorted(set(PERMISSIONS) - set(cast("list[str]", answer.permissions)))
    if missing:
        remedy = "\n".join(grant_commands(job, SOMEBODY.dispatcher))
        return Finding(health=Health.ILL, what=f"On {job} you lack {', '.join(missing)}.", remedy=remedy)
    return Finding(health=Health.WELL, what=f"{job} may be run, with overrides, and its executions cancelled.")


async def _examine_list(job: str, config: CloudRunExecutionConfig, client: ExecutionsClient) -> Finding:
    try:
        await client.list_executions(request={"parent": job, "page_size": 1}, timeout=config.rpc_timeout)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is the finding
        remedy = grant_commands(job, SOMEBODY.dispatcher)[-1]
        return Finding(health=Health.ILL, what=f"The executions of {job} cannot be listed: {error}", remedy=remedy)
    return Finding(health=Health.WELL, what=f"The executions of {job} can be listed.")
