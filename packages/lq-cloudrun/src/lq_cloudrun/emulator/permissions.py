"""The permission that each method needs (https://docs.cloud.google.com/run/docs/reference/iam/permissions)."""

from collections.abc import Collection
from types import MappingProxyType
from typing import Final

import grpc
from google.cloud.run_v2 import types as run

from lq_cloudrun.emulator.project import RefusedError

NEEDED: Final = MappingProxyType(
    {
        "RunJob": "run.jobs.run",
        "GetJob": "run.jobs.get",
        "ListJobs": "run.jobs.list",
        "CreateJob": "run.jobs.create",
        "UpdateJob": "run.jobs.update",
        "DeleteJob": "run.jobs.delete",
        "GetExecution": "run.executions.get",
        "ListExecutions": "run.executions.list",
        "CancelExecution": "run.executions.cancel",
        "DeleteExecution": "run.executions.delete",
        "GetTask": "run.tasks.get",
        "ListTasks": "run.tasks.list",
        "GetOperation": "run.operations.get",
        "CreateWorkerPool": "run.workerpools.create",
        "GetWorkerPool": "run.workerpools.get",
        "ListWorkerPools": "run.workerpools.list",
        "UpdateWorkerPool": "run.workerpools.update",
        "DeleteWorkerPool": "run.workerpools.delete",
    }
)

WITH_OVERRIDES: Final = "run.jobs.runWithOverrides"


def check_permission(method: str, request: object, forbidden: Collection[str]) -> None:
    """Raise RefusedError if a permission that the call needs is *forbidden*."""
    needed = [NEEDED.get(method, "")]
    if isinstance(request, run.RunJobRequest) and "overrides" in request:
        needed.append(WITH_OVERRIDES)
    for permission in needed:
        if permission in forbidden:
            message = f"Permission '{permission}' denied on the resource (or it may not exist)."
            raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, message)
