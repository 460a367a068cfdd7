"""
What a configuration needs on Google Cloud, as values: jobs, a worker pool, accounts and their permissions.

``gcloud.py`` and ``terraform.py`` write the same values in their languages.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import quote

from lq_cloudrun.config import CloudRunExecutionConfig, is_reserved
from lq_cloudrun.executions.request import pull_limit
from lq_cloudrun.executions.target import Targets
from lq_cloudrun.google.refusal import LOOKING
from lq_core.foundation.errors import ConfigurationError

DISPATCHING: Final = ("roles/run.jobsExecutorWithOverrides", LOOKING)
"""The roles of the dispatcher on each job: to run it with overrides and cancel, and to read."""

SCALING: Final = ("run.workerpools.get", "run.workerpools.update")
"""The permissions that ``lq-cloudrun scale`` needs."""

_NAME: Final = re.compile(r"[a-z][-a-z0-9]{0,21}[a-z0-9]")
"""With ``-job`` or ``-worker`` behind it, it is the id of a service account, of 6 to 30 characters."""

_SECRET: Final = re.compile(r"[\w-]+(:[\w-]+)?", re.ASCII)
_CPU: Final = re.compile(r"\d+(\.\d+)?|\d+m", re.ASCII)
_MEMORY: Final = re.compile(r"\d+(\.\d+)?[MG]i?", re.ASCII)
_NAMED: Final = re.compile(r"[^\s:]+(:[^\s:]+){2,3}")
"""``PROJECT:REGION:NAME``; the id of a project may contain a colon."""

POOL_COMMAND: Final = ("lq", "worker")
"""The command of an instance of the worker pool; the image of the jobs has another one."""

_APIS: Final = ("run", "artifactregistry", "iam", "cloudresourcemanager", "cloudbuild", "logging")


class Size(NamedTuple):
    """The processors, memory and GPU of one container, as Cloud Run writes them: ``4``, ``16Gi``, ``nvidia-l4``."""

    cpu: str = "1"
    memory: str = "512Mi"
    gpu: str | None = None

    @classmethod
    def of(cls, text: str) -> "Size":
        """Read ``CPU:MEMORY`` or ``CPU:MEMORY:GPU``. Raises ConfigurationError."""
        parts = text.split(":")
        is_complete = len(parts) in {2, 3} and all(parts)
        if not is_complete or not _CPU.fullmatch(parts[0]) or not _MEMORY.fullmatch(parts[1]):
            raise ConfigurationError(
                f"The size {text!r} is not CPU:MEMORY or CPU:MEMORY:GPU, such as 4:16Gi:nvidia-l4."
            )
        return cls(*parts)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The choices that are not in the configuration."""

    name: str = "lq"
    """The beginning of the names of accounts and of the worker pool, and the name of the image repository."""

    image: str | None = None
    """The image of the jobs; None for ``tasks:latest`` in the repository."""

    worker_image: str | None = None
    """The image of the worker pool; None for ``worker:latest`` in the repository."""

    dispatcher: str | None = None
    """The e-mail address of the service account of the workers; None to create one."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables whose values are secrets: ``SECRET`` or ``SECRET:VERSION`` of the project."""

    sizes: Mapping[str | None, Size] = field(default_factory=dict[str | None, Size])
    """The size of the containers of each profile; None for the default job."""

    cloud_sql: str | None = None
    """The Cloud SQL instance of the queue, ``PROJECT:REGION:INSTANCE``."""

    database: str | None = None
    """The database in that instance: its address is set as ``LQ_POSTGRES_DSN``, with the user of each account."""

    alloydb: str | None = None
    """The AlloyDB cluster of the queue, ``PROJECT:REGION:CLUSTER``."""

    network: str | None = None
    subnet: str | None = None
    instances: int | None = None
    """The instances of the worker pool to begin with; None for no pool."""

    def __post_init__(self) -> None:
        """Refuse what cannot be deployed."""
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"--name {self.name!r} cannot be a part of the names of accounts: "
                "use 2 to 23 small letters, digits and dashes, and begin with a letter."
            )
        if self.dispatcher is not None and not re.fullmatch(r"[^\s@]+@[^\s@]+", self.dispatcher):
            raise ConfigurationError(f"--dispatcher {self.dispatcher!r} is not the e-mail address of an account.")
        self._check_variables()
        for option, value in (("--cloud-sql", self.cloud_sql), ("--alloydb", self.alloydb)):
            if value is not None and not _NAMED.fullmatch(value):
                raise ConfigurationError(f"{option} {value!r} is not of the form PROJECT:REGION:NAME.")
        if self.database and not self.cloud_sql:
            raise ConfigurationError(f"--database {self.database!r} needs --cloud-sql.")
        if self.subnet and not self.network:
            raise ConfigurationError(f"--subnet {self.subnet!r} needs --network.")

    def _check_variables(self) -> None:
        for variable in (*self.env, *self.secrets):
            if is_reserved(variable):
                raise ConfigurationError(f"{variable} is a name that Cloud Run reserves; choose another one.")
        for variable, secret in self.secrets.items():
            if variable in self.env:
                raise ConfigurationError(f"{variable} is set by --env and by --secret; choose one.")
            if not _SECRET.fullmatch(secret):
                raise ConfigurationError(
                    f"--secret {variable}={secret} does not name a secret of the project: write SECRET or "
                    "SECRET:VERSION."
                )


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of a job or pool that gets an image of ours."""

    name: str | None
    image: str
    size: Size
    env: Mapping[str, str]
    secrets: Mapping[str, tuple[str, str]]
    """The secret and the version, by variable."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One Cloud Run job."""

    full_name: str
    label: str
    """A name that no other job of the configuration has."""

    account: str
    containers: Sequence[Container]
    tasks: int
    timeout: int

    @property
    def project(self) -> str:
        """The project of the job."""
        return self.full_name.split("/")[1]

    @property
    def region(self) -> str:
        """The region of the job."""
        return self.full_name.split("/")[3]

    @property
    def name(self) -> str:
        """The short name of the job."""
        return self.full_name.split("/")[5]


@dataclass(frozen=True, kw_only=True)
class Account:
    """A service account, and what it may do in the whole project and with single secrets."""

    email: str
    label: str
    is_new: bool
    roles: Sequence[str]
    secrets: Sequence[str]

    @property
    def member(self) -> str:
        """The account in a policy."""
        return f"serviceAccount:{self.email}"

    @property
    def database_user(self) -> str:
        """Its name in PostgreSQL."""
        return self.email.removesuffix(".gserviceaccount.com")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a configuration needs."""

    project: str
    region: str
    deployment: Deployment
    jobs: Sequence[Job]
    worker: Account
    job: Account
    pool: Container | None

    @classmethod
    def of(cls, config: CloudRunExecutionConfig, deployment: Deployment) -> "Plan":
        """Plan the deployment of a configuration. Raises UnknownProfileError, and ConfigurationError for a size."""
        project, region, name = config.project_id, config.region, deployment.name
        # The id of a project in the scope of a domain is "example.com:shop".
        domain, _, short = project.rpartition(":")
        repository = f"{region}-docker.pkg.dev/{project.replace(':', '/')}/{name}"
        host = f"{'.'.join(filter(None, (short, domain)))}.iam.gserviceaccount.com"
        worker = deployment.dispatcher or f"{name}-worker@{host}"
        secrets = {variable: _secret(value) for variable, value in deployment.secrets.items()}

        def account(label: str, email: str, *, is_new: bool) -> Account:
            names = tuple(dict.fromkeys(secret for secret, _ in secrets.values()))
            return Account(email=email, label=label, is_new=is_new, roles=_roles(deployment), secrets=names)

        def container(named: str | None, image: str, size: Size, user: Account) -> Container:
            env = {**_address(deployment, user), **deployment.env}
            return Container(name=named, image=image, size=size, env=env, secrets=secrets)

        ours = account("worker", worker, is_new=deployment.dispatcher is None)
        job = account("job", f"{name}-job@{host}", is_new=True)
        image = deployment.image or f"{repository}/tasks:latest"
        sizes = _sizes(config, deployment)
        full_names = Targets(config).jobs()
        tasks, timeout = size_of_execution(config)
        return cls(
            project=project,
            region=region,
            deployment=deployment,
            jobs=[
                Job(
                    full_name=each,
                    label=_label(each, full_names),
                    account=job.email,
                    containers=[container(named, image, sizes[each], job) for named in container_names(each, config)],
                    tasks=tasks,
                    timeout=timeout,
                )
                for each in full_names
            ],
            worker=ours,
            job=job,
            pool=None
            if deployment.instances is None
            else container(
                None,
                deployment.worker_image or f"{repository}/worker:latest",
                deployment.sizes.get("worker", Size()),
                ours,
            ),
        )

    @property
    def apis(self) -> list[str]:
        """The APIs to enable."""
        chosen = self.deployment
        wanted = {"secretmanager": chosen.secrets, "sqladmin": chosen.cloud_sql, "alloydb": chosen.alloydb}
        return [*_APIS, *(api for api, needed in wanted.items() if needed), *(["compute"] if chosen.network else [])]

    @property
    def accounts(self) -> Sequence[Account]:
        """The service accounts that reach the queue."""
        return (self.worker, self.job)


def size_of_execution(config: CloudRunExecutionConfig) -> tuple[int, int]:
    """Return the containers and the seconds of an execution. The dispatcher asks for fewer if fewer records are due."""
    return (config.pull_tasks, pull_limit(config)) if config.dispatch == "pull" else (1, config.timeout)


def container_names(job: str, config: CloudRunExecutionConfig) -> list[str] | list[None]:
    """Return the names of the containers that get the image; a single None if the configuration names none."""
    return sorted(Targets(config).containers(job)) or [None]


def parts_of(name: str) -> tuple[str, str, str]:
    """Split ``PROJECT:REGION:NAME``; the id of a project may contain a colon."""
    project, region, short = name.rsplit(":", 2)
    return project, region, short


def _roles(deployment: Deployment) -> tuple[str, ...]:
    sql = ("roles/cloudsql.client", "roles/cloudsql.instanceUser") if deployment.cloud_sql else ()
    # With AlloyDB, serviceUsageConsumer is needed to sign in with IAM.
    alloy = ("roles/alloydb.databaseUser", "roles/serviceusage.serviceUsageConsumer") if deployment.alloydb else ()
    return (*sql, *alloy)


def _address(deployment: Deployment, account: Account) -> dict[str, str]:
    if not deployment.database:
        return {}
    user, place = quote(account.database_user, safe=""), f"/cloudsql/{deployment.cloud_sql}"
    return {"LQ_POSTGRES_DSN": f"postgresql://{user}@/{quote(deployment.database, safe='')}?host={place}"}


def _sizes(config: CloudRunExecutionConfig, deployment: Deployment) -> dict[str, Size]:
    """Return the size of each job. Raises ConfigurationError for a profile that does not exist."""
    targets, known = Targets(config), {None, "worker", *config.profiles}
    for profile in deployment.sizes:
        if profile not in known:
            there = ", ".join(sorted(filter(None, known)))
            raise ConfigurationError(f"There is no profile {profile!r} to give a size to. There are: {there}.")
    return dict.fromkeys(targets.jobs(), deployment.sizes.get(None, Size())) | {
        targets.named(profile).job: size for profile, size in deployment.sizes.items() if profile in config.profiles
    }


def _label(job: str, jobs: Sequence[str]) -> str:
    """Return a label that no other job has; the parts of a name contain no underscores."""
    _, project, _, region, _, name = job.split("/")
    alike = [each for each in jobs if each.rpartition("/")[2] == name]
    return name if len(alike) == 1 else "_".join((name, region, project.replace(":", "-").replace(".", "-")))


def _secret(text: str) -> tuple[str, str]:
    name, _, version = text.partition(":")
    return name, version or "latest"
