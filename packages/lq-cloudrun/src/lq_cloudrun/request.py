"""What Cloud Run is asked for one record: the job, the id, the epoch, a limit, and nothing else of the record."""

import math
from typing import Any

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.target import Target
from lq_core.record import QueuedTaskRecord

LONGEST_TIMEOUT = 168 * 3600
"""The longest limit, in seconds, that Cloud Run accepts."""


def run_job_request(record: QueuedTaskRecord, target: Target, config: CloudRunExecutionConfig) -> dict[str, Any]:
    """Build the request that starts one execution for a reserved record."""
    environment = {
        **config.extra_env,
        config.task_id_variable: str(record.id),
        config.epoch_variable: str(record.epoch),
    }
    container: dict[str, Any] = {"env": [{"name": name, "value": value} for name, value in environment.items()]}
    if target.container:
        container["name"] = target.container
    return {
        "name": target.job,
        "overrides": {
            "container_overrides": [container],
            "timeout": f"{execution_limit(record, config)}s",
        },
    }


def execution_limit(record: QueuedTaskRecord, config: CloudRunExecutionConfig) -> int:
    """
    Tell after how many whole seconds Cloud Run may end the execution.

    A task's own timeout gets a margin, so that it fires first, inside the process, and is recorded.
    """
    if record.timeout is None:
        return config.timeout
    return min(max(1, math.ceil(record.timeout)) + math.ceil(config.startup_margin), LONGEST_TIMEOUT)
