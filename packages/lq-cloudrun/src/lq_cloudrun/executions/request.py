"""The request for an execution: its job, its limit, and the id and epoch of a record, or the order to pull."""

import math
from typing import Any

from msgspec import Struct, json

from lq_cloudrun.config import LONGEST_TIMEOUT, CloudRunExecutionConfig
from lq_cloudrun.executions.target import Target
from lq_core.records.record import QueuedTaskRecord, TaskFailure


class PullOrder(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The order for a container in pull mode: the value of the variable ``{env_prefix}_PULL``, as JSON."""

    job: str
    """The full name of the job, for the address of the logs."""

    queues: tuple[str, ...] | None = None
    """Take only records of these queues; None for all."""

    execution_backend: str = "cloudrun"
    """Take only records of this execution backend."""

    concurrency: int
    """How many records to run at once."""

    pull_time: float
    """For how many seconds to take records."""

    timeout: float
    """How many seconds the tasks that run then have to end."""

    max_interruptions: int
    """How often a record may be interrupted from outside before it fails."""


def run_job_request(record: QueuedTaskRecord, target: Target, config: CloudRunExecutionConfig) -> dict[str, Any]:
    """
    Build the request that starts one execution for a reserved record.

    The timeout of a task gets a margin, so that it fires first, inside the process, and the record gets the outcome.
    """
    own = {config.task_id_variable: str(record.id), config.epoch_variable: str(record.epoch)}
    limit = config.timeout
    if record.timeout is not None:
        limit = max(1, math.ceil(record.timeout)) + math.ceil(config.startup_margin)
    if config.on_console_cancel == "cancel":
        own[config.cancel_variable] = str(limit)
    return _request(target, config, own, limit=limit)


def run_pull_request(
    target: Target, config: CloudRunExecutionConfig, order: PullOrder, *, containers: int
) -> dict[str, Any]:
    """Build the request that starts one execution in pull mode."""
    own = {config.pull_variable: json.encode(order).decode()}
    request = _request(target, config, own, limit=pull_limit(config))
    request["overrides"]["task_count"] = containers
    return request


def pull_limit(config: CloudRunExecutionConfig) -> int:
    """Return after how many whole seconds Cloud Run ends an execution in pull mode. Its containers exit before."""
    return min(math.ceil(config.pull_time + config.timeout + config.startup_margin), LONGEST_TIMEOUT)


def failure_of_too_many(record: QueuedTaskRecord, *, most: int, timeout: float) -> TaskFailure | None:
    """
    Return why a record gets no further execution; None if it was interrupted fewer than *most* times.

    A record that is interrupted again and again probably runs into the limit of its executions.
    """
    events = [entry.event for entry in record.history]
    # A retry by hand starts the count again.
    since = len(events) - events[::-1].index("retried_by_hand") if "retried_by_hand" in events else 0
    if events[since:].count("interrupted") < most:
        return None
    return TaskFailure(
        type="ExecutionInterrupted",
        message=(
            f"The task was interrupted from outside as often as max_interruptions={most} allows. "
            f"If it takes long, give it a timeout, or raise timeout={timeout:g} of the configuration."
        ),
    )


def _request(target: Target, config: CloudRunExecutionConfig, own: dict[str, str], *, limit: int) -> dict[str, Any]:
    environment = {**config.extra_env, **own}
    container: dict[str, Any] = {"env": [{"name": name, "value": value} for name, value in environment.items()]}
    if target.container:
        container["name"] = target.container
    overrides = {"container_overrides": [container], "timeout": f"{min(limit, LONGEST_TIMEOUT)}s"}
    return {"name": target.job, "overrides": overrides}
