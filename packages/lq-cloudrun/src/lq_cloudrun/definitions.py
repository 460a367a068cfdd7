"""The jobs and permissions that a configuration counts on, as commands of gcloud or as Terraform."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Final

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.request import drain_limit
from lq_cloudrun.target import Targets

LOOKING: Final = "roles/run.viewer"
ROLES: Final = ("roles/run.jobsExecutorWithOverrides", LOOKING)
"""What the dispatcher needs on each job: to run it with overrides and cancel, and to look."""

_CONTINUED: Final = " \\\n  "


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the configuration does not say of its jobs."""

    image: str
    dispatcher: str
    """The e-mail address of the service account that the workers run as."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])


def gcloud(config: CloudRunExecutionConfig, wanted: Wanted) -> str:
    """Write the commands that make the jobs, and let the dispatcher run them. Raises UnknownProfileError for no job."""
    return "\n\n".join(_gcloud_job(job, config, wanted) for job in Targets(config).jobs())


def create_command(job: str, config: CloudRunExecutionConfig, wanted: Wanted) -> str:
    """Write the command that makes one job."""
    words = [
        f"gcloud run jobs create {_short(job)}",
        _place(job),
        f"--tasks={_tasks(config)}",
        # A restart by Cloud Run would bypass the queue's backoff.
        "--max-retries=0",
        f"--task-timeout={_timeout(config)}s",
    ]
    pairs = _delimited([f"{name}={value}" for name, value in wanted.env.items()])
    # What follows --container is of that container, so that no flag of the job may come after it.
    for name in _containers(job, config):
        words += [f"--container={shlex.quote(name)}"] if name else []
        words.append(f"--image={shlex.quote(wanted.image)}")
        words += [f"--set-env-vars={shlex.quote(pairs)}"] if pairs else []
    return _CONTINUED.join(words)


def grant_commands(job: str, dispatcher: str) -> list[str]:
    """Write the commands that let the dispatcher run one job and look at it."""
    return [
        _CONTINUED.join(
            (
                f"gcloud run jobs add-iam-policy-binding {_short(job)}",
                _place(job),
                f"--member=serviceAccount:{dispatcher}",
                f"--role={role}",
            )
        )
        for role in ROLES
    ]


def terraform(config: CloudRunExecutionConfig, wanted: Wanted) -> str:
    """Write the same as Terraform resources."""
    return "\n".join(_terraform_job(job, config, wanted) for job in Targets(config).jobs())


def _gcloud_job(job: str, config: CloudRunExecutionConfig, wanted: Wanted) -> str:
    return "\n".join((create_command(job, config, wanted), *grant_commands(job, wanted.dispatcher)))


def _terraform_job(job: str, config: CloudRunExecutionConfig, wanted: Wanted) -> str:
    _, project, _, region, _, name = job.split("/")
    label = re.sub(r"\W", "_", name)
    containers = "".join(_terraform_container(each, wanted) for each in _containers(job, config))
    resource = f"""\
resource "google_cloud_run_v2_job" "{label}" {{
  name     = {_text(name)}
  project  = {_text(project)}
  location = {_text(region)}

  template {{
    task_count = {_tasks(config)}
    template {{
      # A restart by Cloud Run would bypass the queue's backoff.
      max_retries = 0
      timeout     = "{_timeout(config)}s"
{containers}    }}
  }}
}}
"""
    return resource + "".join(_terraform_grant(label, role, wanted.dispatcher) for role in ROLES)


def _terraform_container(name: str | None, wanted: Wanted) -> str:
    named = f"        name  = {_text(name)}\n" if name else ""
    variables = "".join(
        f"        env {{\n          name  = {_text(key)}\n          value = {_text(value)}\n        }}\n"
        for key, value in wanted.env.items()
    )
    return f"      containers {{\n{named}        image = {_text(wanted.image)}\n{variables}      }}\n"


def _terraform_grant(label: str, role: str, dispatcher: str) -> str:
    suffix = role.rpartition(".")[2]
    return f"""
resource "google_cloud_run_v2_job_iam_member" "{label}_{suffix}" {{
  project  = google_cloud_run_v2_job.{label}.project
  location = google_cloud_run_v2_job.{label}.location
  name     = google_cloud_run_v2_job.{label}.name
  role     = {_text(role)}
  member   = {_text(f"serviceAccount:{dispatcher}")}
}}
"""


def _containers(job: str, config: CloudRunExecutionConfig) -> list[str] | list[None]:
    """The containers that get the image, by name; one without a name when the configuration names none."""
    return sorted(Targets(config).containers(job)) or [None]


def _delimited(values: Sequence[str]) -> str:
    """Write a list as `gcloud topic escaping` has it, with a delimiter that is in none of the values."""
    delimiters = chain("|", (f"|{number}|" for number in count(1)))
    delimiter = next(each for each in delimiters if not any(each in value for value in values))
    return f"^{delimiter}^{delimiter.join(values)}" if values else ""


def _tasks(config: CloudRunExecutionConfig) -> int:
    """How many containers an execution has; the dispatcher asks for fewer where less is due."""
    return config.drain_tasks if config.dispatch == "drain" else 1


def _timeout(config: CloudRunExecutionConfig) -> int:
    return drain_limit(config) if config.dispatch == "drain" else math.ceil(config.timeout)


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("${", "$${").replace("%{", "%%{")
    return f'"{escaped}"'.replace("\n", "\\n")


def _short(job: str) -> str:
    return job.rpartition("/")[2]


def _place(job: str) -> str:
    _, project, _, region, *_ = job.split("/")
    return f"--project={project} --region={region}"
