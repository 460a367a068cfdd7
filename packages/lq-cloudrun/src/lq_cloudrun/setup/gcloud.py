"""Writes a deployment as a shell script of gcloud commands, each of which may run again."""

import shlex
from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import Final

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.setup.deployment import (
    DISPATCHING,
    POOL_COMMAND,
    SCALING,
    Account,
    Container,
    Deployment,
    Job,
    Plan,
    container_names,
    parts_of,
    size_of_execution,
)

_CONTINUED: Final = " \\\n  "


def gcloud(config: CloudRunExecutionConfig, deployment: Deployment) -> str:
    """Write the script. Raises UnknownProfileError, and ConfigurationError for a size of an unknown profile."""
    plan = Plan.of(config, deployment)
    parts = [
        "#!/bin/sh\n# Creates what the queue needs, and updates what exists: run it again after a change.\nset -eu",
        _command(
            "gcloud services enable", *(f"{api}.googleapis.com" for api in plan.apis), f"--project={plan.project}"
        ),
        _unless(
            ("gcloud artifacts repositories describe", deployment.name),
            ("gcloud artifacts repositories create", deployment.name, "--repository-format=docker"),
            f"--location={plan.region}",
            f"--project={plan.project}",
        ),
        *(part for account in plan.accounts for part in _account(account, plan)),
        *(part for job in plan.jobs for part in _job(job, plan)),
        *_pool(plan),
    ]
    return "\n\n".join(parts)


def create_command(job: str, config: CloudRunExecutionConfig, *, image: str) -> str:
    """Write the command that creates one job, as short as possible."""
    tasks, timeout = size_of_execution(config)
    words = [*_job_words("create", job), f"--tasks={tasks}", "--max-retries=0", f"--task-timeout={timeout}s"]
    # Flags after --container belong to that container, so that the flags of the job come before it.
    for name in container_names(job, config):
        words += [*([f"--container={name}"] if name else []), f"--image={image}"]
    return _command(*words)


def update_command(job: str, flag: str) -> str:
    """Write the command that changes one setting of a job."""
    return _words(*_job_words("update", job), flag)


def grant_commands(job: str, dispatcher: str) -> list[str]:
    """Write the commands that let the dispatcher run and read one job."""
    words = *_job_words("add-iam-policy-binding", job), f"--member=serviceAccount:{dispatcher}"
    return [_command(*words, f"--role={role}") for role in DISPATCHING]


def _account(account: Account, plan: Plan) -> list[str]:
    project = f"--project={plan.project}"
    parts: list[str] = []
    if account.is_new:
        name = account.email.partition("@")[0]
        parts.append(
            _unless(
                ("gcloud iam service-accounts describe", account.email),
                ("gcloud iam service-accounts create", name),
                project,
            )
        )
    for role in account.roles:
        words = ("gcloud projects add-iam-policy-binding", plan.project, f"--member={account.member}")
        parts.append(_command(*words, f"--role={role}", "--condition=None"))
    for secret in account.secrets:
        words = ("gcloud secrets add-iam-policy-binding", secret, project, f"--member={account.member}")
        parts.append(_command(*words, "--role=roles/secretmanager.secretAccessor"))
    return parts + _database_user(account, plan.deployment)


def _database_user(account: Account, deployment: Deployment) -> list[str]:
    """Let the account sign in to PostgreSQL with its IAM token, in place of a password."""
    parts: list[str] = []
    if deployment.cloud_sql:
        project, _, instance = parts_of(deployment.cloud_sql)
        parts.append(
            _unless(
                ("gcloud sql users describe", account.database_user),
                ("gcloud sql users create", account.database_user, "--type=cloud_iam_service_account"),
                f"--instance={instance}",
                f"--project={project}",
            )
        )
    if deployment.alloydb:
        project, region, cluster = parts_of(deployment.alloydb)
        place = (f"--cluster={cluster}", f"--region={region}", f"--project={project}")
        listing = _words(
            "gcloud alloydb users list", *place, f"--filter=name~{account.database_user}", "--format=value(name)"
        )
        creation = _command("gcloud alloydb users create", account.database_user, "--type=IAM_BASED", *place)
        parts.append(f"{listing} | grep -q . ||{_CONTINUED}{creation}")
    return parts


def _job(job: Job, plan: Plan) -> list[str]:
    gpus = any(each.size.gpu for each in job.containers)
    # GPUs of jobs are in the beta commands; `deploy` creates a job or updates it.
    words = [
        f"gcloud {'beta ' if gpus else ''}run jobs deploy",
        job.name,
        f"--project={job.project}",
        f"--region={job.region}",
        f"--service-account={job.account}",
        f"--tasks={job.tasks}",
        "--max-retries=0",  # A restart by Cloud Run would bypass the queue's backoff.
        f"--task-timeout={job.timeout}s",
        *_place(plan.deployment),
        *(flag for each in job.containers for flag in _container(each)),
    ]
    return [_command(*words), *grant_commands(job.full_name, plan.worker.email)]


def _pool(plan: Plan) -> list[str]:
    if plan.pool is None:
        return []
    name = f"{plan.deployment.name}-worker"
    role = f"{plan.deployment.name}PoolScaler".replace("-", "_")
    permissions, project = f"--permissions={','.join(SCALING)}", f"--project={plan.project}"
    create_role = _words("gcloud iam roles create", role, project, permissions)
    update_role = _command("gcloud iam roles update", role, project, permissions)
    return [
        _command(
            "gcloud run worker-pools deploy",
            name,
            project,
            f"--region={plan.region}",
            f"--service-account={plan.worker.email}",
            f"--instances={plan.deployment.instances}",
            *_place(plan.deployment),
            *_container(plan.pool),
            f"--command={','.join(POOL_COMMAND)}",
        ),
        "# What `lq-cloudrun scale` may do, if it runs with the account of the workers.",
        f"{create_role} ||{_CONTINUED}{update_role}",
        _command(
            "gcloud projects add-iam-policy-binding",
            plan.project,
            f"--member={plan.worker.member}",
            f"--role=projects/{plan.project}/roles/{role}",
            "--condition=None",
        ),
        _command(
            "gcloud iam service-accounts add-iam-policy-binding",
            plan.worker.email,
            project,
            f"--member={plan.worker.member}",
            "--role=roles/iam.serviceAccountUser",
        ),
    ]


def _container(container: Container) -> list[str]:
    size = container.size
    flags = [*([f"--container={container.name}"] if container.name else []), f"--image={container.image}"]
    flags += [f"--cpu={size.cpu}", f"--memory={size.memory}"]
    flags += ["--gpu=1", f"--gpu-type={size.gpu}"] if size.gpu else []
    env = _delimited([f"{name}={value}" for name, value in container.env.items()])
    secrets = {name: f"{secret}:{version}" for name, (secret, version) in container.secrets.items()}
    flags += [f"--set-env-vars={env}"] if env else []
    return flags + ([f"--set-secrets={_pairs(secrets)}"] if secrets else [])


def _place(deployment: Deployment) -> list[str]:
    """Write the flags for the way to the database."""
    flags = [f"--set-cloudsql-instances={deployment.cloud_sql}"] if deployment.cloud_sql else []
    if deployment.network:
        flags += [f"--network={deployment.network}", f"--subnet={deployment.subnet or deployment.network}"]
        flags.append("--vpc-egress=private-ranges-only")
    return flags


def _pairs(values: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in values.items())


def _delimited(values: Sequence[str]) -> str:
    """Write a list as in `gcloud topic escaping`, with a delimiter that is in none of the values."""
    delimiters = chain("|", (f"|{number}|" for number in count(1)))
    delimiter = next(each for each in delimiters if not any(each in value for value in values))
    return f"^{delimiter}^{delimiter.join(values)}" if values else ""


def _unless(look: Sequence[str], create: Sequence[str], *place: str) -> str:
    """Write a command that creates what the other one does not find."""
    return f"{_words(*look, *place)} >/dev/null 2>&1 ||{_CONTINUED}{_command(*create, *place)}"


def _words(command: str, *words: str) -> str:
    return " ".join((command, *map(shlex.quote, words)))


def _command(command: str, *words: str) -> str:
    subject, *flags = map(shlex.quote, words)
    return _CONTINUED.join((f"{command} {subject}", *flags))


def _job_words(verb: str, job: str) -> tuple[str, str, str, str]:
    _, project, _, region, _, name = job.split("/")
    return f"gcloud run jobs {verb}", name, f"--project={project}", f"--region={region}"
