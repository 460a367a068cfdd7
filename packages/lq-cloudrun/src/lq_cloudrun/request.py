"""What Cloud Run is asked for: the job, a limit, and the id and epoch of one record, or what to drain."""

import math
from typing import Any

from lq_cloudrun.config import LONGEST_TIMEOUT, CloudRunExecutionConfig
from lq_cloudrun.target import Target
from lq_core.record import QueuedTaskRecord


def run_job_request(record: QueuedTaskRecord, target: Target, config: CloudRunExecutionConfig) -> dict[str, Any]:
    """Build the request that starts one execution for a reserved record."""
    own = {config.task_id_variable: str(record.id), config.epoch_variable: str(record.epoch)}
    return _request(target, {**config.extra_env, **own}, limit=execution_limit(record, config))


def run_drain_request(
    target: Target, config: CloudRunExecutionConfig, *, order: str, containers: int
) -> dict[str, Any]:
    """Build the request that starts one execution that drains."""
    request = _request(target, {**config.extra_env, config.drain_variable: order}, limit=drain_limit(config))
    request["overrides"]["task_count"] = containers
    return request


def execution_limit(record: QueuedTaskRecord, config: CloudRunExecutionConfig) -> int:
    """
    Tell after how many whole seconds Cloud Run may end the execution.

    A task's own timeout gets a margin, so that it fires first, inside the process, and is recorded.
    """
    if record.timeout is None:
        return config.timeout
    return min(max(1, math.ceil(record.timeout)) + math.ceil(config.startup_margin), LONGEST_TIMEOUT)


def drain_limit(config: CloudRunExecutionConfig) -> int:
    """Tell after how many whole seconds Cloud Run may end an execution that drains; its containers leave before."""
    return min(math.ceil(config.drain_time + config.timeout + config.startup_margin), LONGEST_TIMEOUT)


def _request(target: Target, environment: dict[str, str], *, limit: int) -> dict[str, Any]:
    container: dict[str, Any] = {"env": [{"name": name, "value": value} for name, value in environment.items()]}
    if target.container:
        container["name"] = target.container
    return {"name": target.job, "overrides": {"container_overrides": [container], "timeout": f"{limit}s"}}
