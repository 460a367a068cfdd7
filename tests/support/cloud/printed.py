"""Reads what ``lq-cloudrun gcloud`` and ``lq-cloudrun terraform`` print, as strictly as Google would."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import hcl2
from google.cloud.run_v2 import types as run

_WRITTEN_BY_THE_PARSER: Final = ("__is_block__", "__comments__", "__inline_comments__")


@dataclass(frozen=True, kw_only=True)
class PrintedContainer:
    """One container of a printed job or worker pool."""

    name: str = ""
    image: str
    cpu: str
    memory: str
    gpu: str = ""
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One printed job or worker pool."""

    name: str
    """The full name."""

    account: str
    tasks: int = 1
    max_retries: int = 0
    timeout: str = ""
    instances: int = 0
    cloud_sql: str = ""
    network: str = ""
    containers: tuple[PrintedContainer, ...]


# ------------------------------------------------------------ gcloud


def commands_of(script: str) -> list[list[str]]:
    """Split a script into the words of its gcloud commands, as a shell does."""
    found: list[list[str]] = []
    # A shell joins such lines, and shlex does not.
    words = [*shlex.split(script.replace(" \\\n  ", " "), comments=True), "gcloud"]
    for word in words:
        if word == "gcloud":
            found.append([])
        if found:
            found[-1].append(word)
    return [_until_operator(command) for command in found[:-1]]


def deployed_by(script: str) -> dict[str, Printed]:
    """Read the jobs and worker pools that a script deploys, by full name."""
    found: dict[str, Printed] = {}
    for command in commands_of(script):
        words = [word for word in command if word != "beta"]
        kinds = {"jobs": "jobs", "worker-pools": "workerPools"}
        if words[1] == "run" and words[2] in kinds and words[3] == "deploy":
            printed = _deployed(kinds[words[2]], words[4], words[5:])
            found[printed.name] = printed
    return found


def _deployed(kind: str, name: str, flags: Sequence[str]) -> Printed:
    of_job, containers = dict[str, str](), [dict[str, str]()]
    for flag in flags:
        key, _, value = flag.removeprefix("--").partition("=")
        if key == "container" and "image" in containers[-1]:
            containers.append({})
        inner = key in {
            "container",
            "image",
            "cpu",
            "memory",
            "gpu",
            "gpu-type",
            "command",
            "set-env-vars",
            "set-secrets",
        }
        (containers[-1] if inner else of_job)[key] = value
    return Printed(
        name=f"projects/{of_job['project']}/locations/{of_job['region']}/{kind}/{name}",
        account=of_job["service-account"],
        tasks=int(of_job.get("tasks", 1)),
        max_retries=int(of_job.get("max-retries", 0)),
        timeout=of_job.get("task-timeout", ""),
        instances=int(of_job.get("instances", 0)),
        cloud_sql=of_job.get("set-cloudsql-instances", ""),
        network=of_job.get("network", ""),
        containers=tuple(map(_container, containers)),
    )


def _container(flags: Mapping[str, str]) -> PrintedContainer:
    return PrintedContainer(
        name=flags.get("container", ""),
        image=flags["image"],
        cpu=flags["cpu"],
        memory=flags["memory"],
        gpu=flags.get("gpu-type", ""),
        command=tuple(filter(None, flags.get("command", "").split(","))),
        env=dict(_pairs(flags.get("set-env-vars", ""))),
        secrets=dict(_pairs(flags.get("set-secrets", ""))),
    )


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Split a list as ``gcloud topic escaping`` says."""
    delimiter = ","
    if text.startswith("^"):
        _, delimiter, text = text.split("^", 2)
    for pair in filter(None, text.split(delimiter)):
        name, _, value = pair.partition("=")
        yield name, value


def _until_operator(words: Sequence[str]) -> list[str]:
    ends = [index for index, word in enumerate(words) if word in {"||", "|", ">/dev/null", "set"}]
    return list(words[: min(ends, default=len(words))])


# ------------------------------------------------------------ Terraform


def resources_of(terraform: str) -> dict[str, dict[str, Any]]:
    """Read the resources of a Terraform file by address, such as ``google_service_account.job``."""
    found: dict[str, dict[str, Any]] = {}
    parser: Any = hcl2
    for resource in parser.loads(terraform)["resource"]:
        for kind, labelled in resource.items():
            for label, body in labelled.items():
                address = f"{_text(kind)}.{_text(label)}"
                assert address not in found, f"{address} is declared twice"
                found[address] = _plain(body)
    return found


def declared_in(terraform: str) -> dict[str, Printed]:
    """Read the jobs and worker pools that a Terraform file declares, by full name."""
    resources = resources_of(terraform)
    found: dict[str, Printed] = {}
    for address, body in resources.items():
        place = f"projects/{body.get('project')}/locations/{body.get('location')}"
        if address.startswith("google_cloud_run_v2_job."):
            job = run.Job(_message(body["template"], run.ExecutionTemplate, "template", resources))
            task = job.template.template
            timeout: Any = task.timeout
            printed = Printed(
                name=f"{place}/jobs/{body['name']}",
                tasks=job.template.task_count,
                max_retries=task.max_retries,
                timeout=f"{timeout.total_seconds():.0f}s",
                **_shared(task),
            )
        elif address.startswith("google_cloud_run_v2_worker_pool."):
            message = _message(body["template"], run.WorkerPoolRevisionTemplate, "template", resources)
            scaling = _message(body["scaling"], run.WorkerPoolScaling, "scaling", resources)
            pool = run.WorkerPool({**message, **scaling})
            printed = Printed(
                name=f"{place}/workerPools/{body['name']}",
                instances=pool.scaling.manual_instance_count,
                **_shared(pool.template),
            )
        else:
            continue
        found[printed.name] = printed
    return found


def _shared(template: Any) -> dict[str, Any]:
    """Read what the templates of jobs and pools have in common."""
    volumes = [volume.cloud_sql_instance for volume in template.volumes]
    gpu = template.node_selector.accelerator
    return {
        "account": template.service_account,
        "cloud_sql": ",".join(instance for volume in volumes for instance in volume.instances),
        "network": ",".join(each.network for each in template.vpc_access.network_interfaces),
        "containers": tuple(
            PrintedContainer(
                name=each.name,
                image=each.image,
                cpu=each.resources.limits["cpu"],
                memory=each.resources.limits["memory"],
                gpu=gpu if "nvidia.com/gpu" in each.resources.limits else "",
                command=tuple(each.command),
                env={variable.name: variable.value for variable in each.env if "value_source" not in variable},
                secrets={
                    variable.name: f"{variable.value_source.secret_key_ref.secret}:"
                    f"{variable.value_source.secret_key_ref.version}"
                    for variable in each.env
                    if "value_source" in variable
                },
            )
            for each in template.containers
        ),
    }


def _message(blocks: Any, kind: Any, name: str, resources: Mapping[str, Any]) -> dict[str, Any]:
    """Turn blocks into a message of *kind* that refuses unknown fields."""
    [block] = blocks
    return {name: kind(_fields(block, kind.pb().DESCRIPTOR, resources))}


def _fields(block: Mapping[str, Any], descriptor: Any, resources: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in block.items():
        field_of = descriptor.fields_by_name[name]  # A KeyError names an attribute that Cloud Run does not have.
        inner, is_map = (
            field_of.message_type,
            bool(field_of.message_type and field_of.message_type.GetOptions().map_entry),
        )
        if inner is None or is_map or inner.full_name.startswith("google.protobuf."):
            found[name] = _resolved(value, resources)
            continue
        messages = [_fields(each, inner, resources) for each in value]
        found[name] = messages if field_of.is_repeated else messages[0]
    return found


def _resolved(value: Any, resources: Mapping[str, Any]) -> Any:
    """Look up a reference to the e-mail address of an account."""
    if isinstance(value, str) and value.startswith("${") and value.endswith(".email}"):
        account = resources[value[2:-1].removesuffix(".email")]
        return f"{account['account_id']}@{account['project']}.iam.gserviceaccount.com"
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {_text(name): _plain(each) for name, each in items if name not in _WRITTEN_BY_THE_PARSER}
    if isinstance(value, list):
        return [_plain(each) for each in cast("list[Any]", value)]
    return _text(value) if isinstance(value, str) else value


def _text(word: str) -> str:
    """Return what stands between quotes; a name or a reference has none."""
    if not word.startswith('"'):
        return word
    return str(json.loads(word)).replace("$${", "${").replace("%%{", "%{")
