"""
What each method of the API does: one request in, one reply or a refusal out.

Nothing here waits; delays, lost replies and the like happen around it, in the server.
"""

from pathlib import Path
from typing import Final

import grpc
from google.cloud.run_v2 import types as run
from google.longrunning import operations_pb2

from lq_cloudrun.emulator.environment import refusal
from lq_cloudrun.emulator.job import LONGEST_TIMEOUT, MOST_TASKS, EmulatedJob
from lq_cloudrun.emulator.messages import execution_message, job_message, operation_message, task_message
from lq_cloudrun.emulator.project import EmulatedProject, RefusedError
from lq_cloudrun.emulator.wire import seconds

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000

_INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT


class Methods:
    """The methods of Jobs, Executions, Tasks and Operations that lq needs, and a few that people look at."""

    def __init__(self, project: EmulatedProject, *, logs: Path) -> None:
        self._project = project
        self._logs = logs

    def run_job(self, request: run.RunJobRequest) -> operations_pb2.Operation:
        """Create an execution, and answer before anything of it runs."""
        job = self._project.job(request.name)
        overrides = request.overrides
        container = _override(job, list(overrides.container_overrides))
        changes = {variable.name: variable.value for variable in container.env}
        complaint = refusal((variable.name, variable.value) for variable in container.env) or refusal(
            {**job.env, **changes}.items()
        )
        if complaint:
            raise RefusedError(_INVALID, complaint)
        if any("value_source" in variable for variable in container.env):
            raise RefusedError(_INVALID, "An execution cannot take the value of a variable from a secret.")
        timeout = seconds(overrides.timeout) if "timeout" in overrides else job.timeout
        if not 0 < timeout <= LONGEST_TIMEOUT:
            raise RefusedError(_INVALID, f"The timeout must lie between 0 and {LONGEST_TIMEOUT:.0f} seconds.")
        task_count = overrides.task_count or job.task_count
        if not 0 < task_count <= MOST_TASKS:
            raise RefusedError(_INVALID, f"The task count must lie between 1 and {MOST_TASKS}.")
        if request.validate_only:
            # An unfinished operation that nobody can fetch: this is what Cloud Run is said to answer.
            return operations_pb2.Operation(name=f"{self._project.location}/operations/validate-only")
        execution = self._project.start(
            job,
            env={**job.env, **changes},
            args=[] if container.clear_args else list(container.args) or job.args,
            timeout=timeout,
            task_count=task_count,
            logs=self._logs,
        )
        return operation_message(execution, name=self._project.operation(execution))

    def get_job(self, request: run.GetJobRequest) -> run.Job:
        """Show a job."""
        job = self._project.job(request.name)
        return job_message(job, name=request.name, executions=self._project.executions_of(job))

    def get_execution(self, request: run.GetExecutionRequest) -> run.Execution:
        """Show an execution."""
        return execution_message(self._project.execution(request.name))

    def list_executions(self, request: run.ListExecutionsRequest) -> run.ListExecutionsResponse:
        """Show executions of one job, or of all with ``jobs/-``, the newest first."""
        if request.parent == self._project.job_name("-"):
            found = list(self._project.executions.values())
        else:
            found = self._project.executions_of(self._project.job(request.parent))
        before = _page_start(request.page_token)
        size = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        rest = [
            execution
            for execution in reversed(found)
            if (before is None or execution.number < before)
            and self._project.faults.shows(execution.name)
            and self._project.faults.lists(execution.number)
        ]
        page = rest[:size]
        return run.ListExecutionsResponse(
            executions=[execution_message(execution) for execution in page],
            # A number, so that executions created meanwhile neither repeat nor hide any.
            next_page_token=str(page[-1].number) if len(rest) > size else "",
        )

    def cancel_execution(self, request: run.CancelExecutionRequest) -> operations_pb2.Operation:
        """Ask an execution to end."""
        execution = self._project.execution(request.name)
        if execution.phase.over or execution.cancelling:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"The execution {execution.short_name!r} cannot be cancelled because it is not running.",
            )
        if not request.validate_only:
            execution.cancel()
        return operation_message(execution, name=self._project.operation(execution))

    def get_task(self, request: run.GetTaskRequest) -> run.Task:
        """Show one task of an execution."""
        parent, _, name = request.name.partition("/tasks/")
        execution = self._project.execution(parent)
        for task in execution.tasks:
            if name == f"{execution.short_name}-task{task.index}":
                return task_message(execution, task)
        raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no task {request.name!r}.")

    def get_operation(self, request: operations_pb2.GetOperationRequest) -> operations_pb2.Operation:
        """Show how far an operation is."""
        execution = self._project.operations.get(request.name)
        if execution is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no operation {request.name!r}.")
        return operation_message(execution, name=request.name)


def _override(
    job: EmulatedJob, overrides: list[run.RunJobRequest.Overrides.ContainerOverride]
) -> run.RunJobRequest.Overrides.ContainerOverride:
    own = run.RunJobRequest.Overrides.ContainerOverride()
    for override in overrides:
        if not override.name and job.sidecars:
            raise RefusedError(_INVALID, f"The job {job.name!r} has several containers; an override must name one.")
        if override.name and override.name not in {job.container, *job.sidecars}:
            raise RefusedError(_INVALID, f"The job {job.name!r} has no container {override.name!r}.")
        if override.name not in job.sidecars:
            own = override
    return own


def _page_start(token: str) -> int | None:
    if not token:
        return None
    if not token.isdecimal():
        raise RefusedError(_INVALID, f"The page token {token!r} is not one that this emulator gave.")
    return int(token)
