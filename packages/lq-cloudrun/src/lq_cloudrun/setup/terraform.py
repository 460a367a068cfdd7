"""Writes a deployment as Terraform resources for the provider hashicorp/google."""

from collections.abc import Iterator, Mapping, Sequence

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
    parts_of,
)
from lq_cloudrun.setup.hcl import Block, Reference, Value

Attributes = Mapping[str, Value]


def terraform(config: CloudRunExecutionConfig, deployment: Deployment) -> str:
    """Write the resources. Raises UnknownProfileError, and ConfigurationError for a size of an unknown profile."""
    plan = Plan.of(config, deployment)
    return "\n\n".join(block.written() for block in _blocks(plan))


def _blocks(plan: Plan) -> Iterator[Block]:
    for api in plan.apis:
        service: Attributes = {"service": f"{api}.googleapis.com", "disable_on_destroy": False}
        yield _resource("project_service", api, {"project": plan.project, **service})
    repository: Attributes = {"repository_id": plan.deployment.name, "format": "DOCKER"}
    place: Attributes = {"project": plan.project, "location": plan.region}
    yield _resource("artifact_registry_repository", "images", {**place, **repository, **_after("artifactregistry")})
    for account in plan.accounts:
        yield from _account(account, plan)
    for job in plan.jobs:
        yield from _job(job, plan)
    if plan.pool is not None:
        yield from _pool(plan, plan.pool)


def _account(account: Account, plan: Plan) -> Iterator[Block]:
    if account.is_new:
        name = account.email.partition("@")[0]
        yield _resource(
            "service_account", account.label, {"project": plan.project, "account_id": name, **_after("iam")}
        )
    member = _member(account)
    for role in account.roles:
        granted: Attributes = {"project": plan.project, "role": role, "member": member}
        yield _resource("project_iam_member", f"{account.label}_{_word(role)}", granted)
    for secret in account.secrets:
        read: Attributes = {"secret_id": secret, "role": "roles/secretmanager.secretAccessor", "member": member}
        yield _resource(
            "secret_manager_secret_iam_member", f"{account.label}_{secret}", {"project": plan.project, **read}
        )
    yield from _database_user(account, plan.deployment)


def _database_user(account: Account, deployment: Deployment) -> Iterator[Block]:
    """Let the account sign in to PostgreSQL with its IAM token, in place of a password."""
    if deployment.cloud_sql:
        project, _, instance = parts_of(deployment.cloud_sql)
        user: Attributes = {"name": account.database_user, "type": "CLOUD_IAM_SERVICE_ACCOUNT"}
        yield _resource("sql_user", account.label, {"project": project, "instance": instance, **user, **_made(account)})
    if deployment.alloydb:
        project, region, cluster = parts_of(deployment.alloydb)
        full_name = f"projects/{project}/locations/{region}/clusters/{cluster}"
        user = {"user_id": account.database_user, "user_type": "ALLOYDB_IAM_USER"}
        yield _resource("alloydb_user", account.label, {"cluster": full_name, **user, **_made(account)})


def _job(job: Job, plan: Plan) -> Iterator[Block]:
    limits: Attributes = {"service_account": _email(plan.job), "max_retries": 0, "timeout": f"{job.timeout}s"}
    task = Block(
        "template",
        attributes=limits,
        blocks=[*(_container(each, plan) for each in job.containers), *_place(plan.deployment, job.containers)],
        comment="A restart by Cloud Run would bypass the queue's backoff.",
    )
    template = Block("template", attributes={"task_count": job.tasks}, blocks=[task])
    place: Attributes = {"project": job.project, "location": job.region}
    yield _resource("cloud_run_v2_job", job.label, {"name": job.name, **place, **_ready(plan.job)}, [template])
    made = f"google_cloud_run_v2_job.{job.label}"
    for role in DISPATCHING:
        granted: Attributes = {"role": role, "member": _member(plan.worker)}
        of: Attributes = {name: Reference(f"{made}.{name}") for name in ("project", "location", "name")}
        yield _resource("cloud_run_v2_job_iam_member", f"{job.label}_{_word(role)}", {**of, **granted})


def _pool(plan: Plan, pool: Container) -> Iterator[Block]:
    name, place = f"{plan.deployment.name}-worker", {"project": plan.project, "location": plan.region}
    template = Block(
        "template",
        attributes={"service_account": _email(plan.worker)},
        blocks=[_container(pool, plan, command=POOL_COMMAND), *_place(plan.deployment, [pool])],
    )
    scaling = Block("scaling", attributes={"manual_instance_count": plan.deployment.instances or 0})
    kept = Block(
        "lifecycle",
        attributes={"ignore_changes": [Reference("scaling[0].manual_instance_count")]},
        comment="`lq-cloudrun scale` changes the count.",
    )
    yield _resource(
        "cloud_run_v2_worker_pool", "worker", {"name": name, **place, **_ready(plan.worker)}, [scaling, template, kept]
    )
    role = f"{plan.deployment.name}PoolScaler".replace("-", "_")
    permissions: Attributes = {"title": "lq-cloudrun scale", "permissions": SCALING}
    yield _resource("project_iam_custom_role", "scaler", {"project": plan.project, "role_id": role, **permissions})
    granted: Attributes = {
        "role": Reference("google_project_iam_custom_role.scaler.name"),
        "member": _member(plan.worker),
    }
    yield _resource("project_iam_member", "worker_scaler", {"project": plan.project, **granted})
    itself = f"projects/{plan.project}/serviceAccounts/{plan.worker.email}"
    account = Reference("google_service_account.worker.name") if plan.worker.is_new else itself
    acts: Attributes = {"service_account_id": account, "role": "roles/iam.serviceAccountUser"}
    yield _resource("service_account_iam_member", "worker_itself", {**acts, "member": _member(plan.worker)})


def _container(container: Container, plan: Plan, *, command: Sequence[str] = ()) -> Block:
    named: Attributes = {"name": container.name} if container.name else {}
    program: Attributes = {"command": command} if command else {}
    return Block(
        "containers",
        attributes={**named, "image": container.image, **program},
        blocks=[*_resources(container), *_variables(container), *_mounts(plan.deployment)],
    )


def _resources(container: Container) -> Iterator[Block]:
    size = container.size
    gpu = {"nvidia.com/gpu": "1"} if size.gpu else {}
    limits: Mapping[str, str] = {"cpu": size.cpu, "memory": size.memory, **gpu}
    yield Block("resources", attributes={"limits": limits})


def _variables(container: Container) -> Iterator[Block]:
    for name, value in container.env.items():
        yield Block("env", attributes={"name": name, "value": value})
    for name, (secret, version) in container.secrets.items():
        reference = Block("secret_key_ref", attributes={"secret": secret, "version": version})
        yield Block("env", attributes={"name": name}, blocks=[Block("value_source", blocks=[reference])])


def _mounts(deployment: Deployment) -> Iterator[Block]:
    if deployment.cloud_sql:
        yield Block("volume_mounts", attributes={"name": "cloudsql", "mount_path": "/cloudsql"})


def _place(deployment: Deployment, containers: Sequence[Container]) -> Iterator[Block]:
    """Write the way to the database, and the accelerator."""
    if deployment.cloud_sql:
        instance = Block("cloud_sql_instance", attributes={"instances": [deployment.cloud_sql]})
        yield Block("volumes", attributes={"name": "cloudsql"}, blocks=[instance])
    if deployment.network:
        interface: Attributes = {"network": deployment.network, "subnetwork": deployment.subnet or deployment.network}
        interfaces = Block("network_interfaces", attributes=interface)
        yield Block("vpc_access", attributes={"egress": "PRIVATE_RANGES_ONLY"}, blocks=[interfaces])
    for gpu in dict.fromkeys(each.size.gpu for each in containers if each.size.gpu):
        yield Block("node_selector", attributes={"accelerator": gpu})


def _resource(kind: str, label: str, attributes: Attributes, blocks: Sequence[Block] = ()) -> Block:
    return Block("resource", (f"google_{kind}", label), attributes, blocks)


def _after(api: str) -> Attributes:
    return {"depends_on": [Reference(f"google_project_service.{api}")]}


def _ready(account: Account) -> Attributes:
    """Wait for the secrets too, because Cloud Run checks that the account may read them."""
    secrets = (f"google_secret_manager_secret_iam_member.{account.label}_{secret}" for secret in account.secrets)
    return {"depends_on": [Reference("google_project_service.run"), *map(Reference, secrets)]}


def _made(account: Account) -> Attributes:
    return {"depends_on": [Reference(f"google_service_account.{account.label}")]} if account.is_new else {}


def _email(account: Account) -> Value:
    return Reference(f"google_service_account.{account.label}.email") if account.is_new else account.email


def _member(account: Account) -> Value:
    return Reference(f"google_service_account.{account.label}.member") if account.is_new else account.member


def _word(role: str) -> str:
    return role.partition("/")[2].replace(".", "_")
