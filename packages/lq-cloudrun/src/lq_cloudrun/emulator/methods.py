"""
The methods of executions, tasks and operations: each takes a request, and returns a reply or raises a refusal.

They do not wait. The server adds delays, lost replies and similar faults around them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
from google.cloud.run_v2 import types as run
from google.longrunning import operations_pb2

from lq_cloudrun.config import LONGEST_TIMEOUT
from lq_cloudrun.emulator.environment import refusal
from lq_cloudrun.emulator.execution import EmulatedExecution, EmulatedTask
from lq_cloudrun.emulator.job import EmulatedJob
from lq_cloudrun.emulator.messages import execution_message, operation_message, task_message
from lq_cloudrun.emulator.pages import INVALID, check_etag, page_of
from lq_cloudrun.emulator.project import EmulatedProject, RefusedError
from lq_cloudrun.emulator.rules import MOST_ARGUMENTS, MOST_TASKS, is_timeout
from lq_cloudrun.emulator.wire import seconds

Override = run.RunJobRequest.Overrides.ContainerOverride


class Methods:
    """The executions of one project."""

    def __init__(self, project: EmulatedProject, *, logs: Path) -> None:
        self._project = project
        self._logs = logs

    def run_job(self, request: run.RunJobRequest) -> operations_pb2.Operation:
        """Create an execution, and answer before it runs."""
        kept = self._project.job(request.name)
        job, overrides = kept.job, request.overrides
        check_etag(request.etag, kept.etag)
        beside = _overrides(job, list(overrides.container_overrides))
        own = beside.pop(job.container, Override())
        env = _merged(job.env, own)
        timeout = seconds(overrides.timeout) if "timeout" in overrides else job.timeout
        if not is_timeout(timeout):
            raise RefusedError(INVALID, f"The timeout must be a number of whole seconds from 1 to {LONGEST_TIMEOUT}.")
        task_count = overrides.task_count or job.task_count
        if not 0 < task_count <= MOST_TASKS:
            raise RefusedError(INVALID, f"The task count must lie between 1 and {MOST_TASKS}.")
        if request.validate_only:
            # Cloud Run is said to answer with an unfinished operation that cannot be fetched.
            return operations_pb2.Operation(name=f"{self._project.location}/operations/validate-only")
        self._project.take_quota()
        execution = self._project.start(
            job,
            env=env,
            args=[] if own.clear_args else list(own.args) or job.args,
            timeout=timeout,
            task_count=task_count,
            sidecar_env={name: _merged({}, override) for name, override in beside.items()},
            logs=self._logs,
        )
        return operation_message(execution, name=self._project.operation(execution))

    def get_execution(self, request: run.GetExecutionRequest) -> run.Execution:
        """Show an execution."""
        return execution_message(self._project.execution(request.name))

    def list_executions(self, request: run.ListExecutionsRequest) -> run.ListExecutionsResponse:
        """Show the executions of one job, or of all jobs with ``jobs/-``, the newest first."""
        project = self._project
        is_all = project.names.canonical(request.parent) == project.names.job("-")
        found = project.executions.values() if is_all else project.executions_of(project.job(request.parent).job)
        page, token = page_of(
            project.listed(found, deleted=request.show_deleted),
            size=request.page_size,
            token=request.page_token,
            key=lambda execution: (-execution.number,),
        )
        return run.ListExecutionsResponse(
            executions=[execution_message(execution) for execution in page], next_page_token=token
        )

    def cancel_execution(self, request: run.CancelExecutionRequest) -> operations_pb2.Operation:
        """Ask an execution to end."""
        execution = self._project.execution(request.name)
        check_etag(request.etag, execution.etag)
        if execution.phase.over or execution.cancelling:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"The execution {execution.short_name!r} cannot be cancelled because it is not running.",
            )
        if not request.validate_only:
            execution.cancel()
        return operation_message(execution, name=self._project.operation(execution))

    def delete_execution(self, request: run.DeleteExecutionRequest) -> operations_pb2.Operation:
        """Delete an execution, and end its processes."""
        execution = self._project.execution(request.name)
        check_etag(request.etag, execution.etag)
        if not request.validate_only:
            execution.delete()
        return operation_message(execution, name=self._project.operation(execution))

    def get_task(self, request: run.GetTaskRequest) -> run.Task:
        """Show one task of an execution."""
        parent, _, name = request.name.partition("/tasks/")
        execution = self._project.execution(parent)
        for task in execution.tasks:
            if name == f"{execution.short_name}-task{task.index}":
                return task_message(execution, task)
        raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no task {request.name!r}.")

    def list_tasks(self, request: run.ListTasksRequest) -> run.ListTasksResponse:
        """Show the tasks of an execution, or of all with a dash instead of its name or that of its job."""
        page, token = page_of(
            list(self._tasks(request)),
            size=request.page_size,
            token=request.page_token,
            key=lambda pair: (-pair[0].number, pair[1].index),
        )
        return run.ListTasksResponse(
            tasks=[task_message(execution, task) for execution, task in page], next_page_token=token
        )

    def get_operation(self, request: operations_pb2.GetOperationRequest) -> operations_pb2.Operation:
        """Show the state of an operation."""
        execution = self._project.operations.get(request.name)
        if execution is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"There is no operation {request.name!r}.")
        return operation_message(execution, name=request.name)

    def _tasks(self, request: run.ListTasksRequest) -> Iterator[tuple[EmulatedExecution, EmulatedTask]]:
        matching = self._project.names.matching(request.parent, "jobs", "executions")
        if matching is None:
            raise RefusedError(INVALID, f"{request.parent!r} is not the name of an execution.")
        if "-" not in request.parent.split("/"):
            self._project.execution(request.parent)
        for execution in self._project.listed(self._project.executions.values(), deleted=request.show_deleted):
            if matching.match(f"{execution.name}/"):
                for task in execution.tasks:
                    yield execution, task


def _overrides(job: EmulatedJob, overrides: list[Override]) -> dict[str, Override]:
    """Return the override of each container. The only container of a job needs no name."""
    found: dict[str, Override] = {}
    for override in overrides:
        if not override.name and job.sidecars:
            raise RefusedError(INVALID, f"The job {job.name!r} has several containers; an override must name one.")
        name = override.name or job.container
        if name not in {job.container, *job.sidecars}:
            raise RefusedError(INVALID, f"The job {job.name!r} has no container {name!r}.")
        if name in found:
            raise RefusedError(INVALID, f"There are two overrides for the container {name!r}.")
        if len(override.args) > MOST_ARGUMENTS:
            raise RefusedError(INVALID, f"A container may have {MOST_ARGUMENTS} arguments.")
        if any("value_source" in variable for variable in override.env):
            raise RefusedError(INVALID, "An execution cannot take the value of a variable from a secret.")
        found[name] = override
    return found


def _merged(env: Mapping[str, str], override: Override) -> dict[str, str]:
    changes = {variable.name: variable.value for variable in override.env}
    complaint = refusal((variable.name, variable.value) for variable in override.env) or refusal(
        {**env, **changes}.items()
    )
    if complaint:
        raise RefusedError(INVALID, complaint)
    return {**env, **changes}
