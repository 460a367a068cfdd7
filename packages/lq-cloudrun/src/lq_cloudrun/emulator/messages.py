"""Shows jobs, executions, tasks and operations as Google's messages, with the defaults of unset fields; reads jobs."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import grpc
from google.api import launch_stage_pb2
from google.cloud.run_v2 import types as run
from google.longrunning import operations_pb2
from google.rpc import status_pb2

from lq_cloudrun.emulator.conditions import conditions, failure
from lq_cloudrun.emulator.execution import EmulatedExecution, EmulatedTask, Phase
from lq_cloudrun.emulator.job import EmulatedJob
from lq_cloudrun.emulator.kept_job import KeptJob
from lq_cloudrun.emulator.wire import packed, seconds

ACCOUNT: Final = "emulated-compute@developer.gserviceaccount.com"
LIMITS: Final = {"cpu": "1000m", "memory": "512Mi"}
GA: Final = launch_stage_pb2.LaunchStage.GA


def job_message(kept: KeptJob, *, executions: list[EmulatedExecution]) -> run.Job:
    """Show a job as GetJob does."""
    job, latest = kept.job, executions[-1] if executions else None
    return run.Job(
        name=kept.name,
        uid=kept.uid,
        generation=kept.generation,
        observed_generation=kept.generation,
        creator=ACCOUNT,
        last_modifier=ACCOUNT,
        launch_stage=GA,
        create_time=kept.created_at,
        update_time=kept.updated_at,
        delete_time=kept.deleted_at,
        template=run.ExecutionTemplate(task_count=job.task_count, parallelism=job.parallelism, template=_template(job)),
        execution_count=len(executions),
        latest_created_execution=run.ExecutionReference(
            name=latest.short_name, create_time=latest.created_at, completion_time=latest.completed_at
        )
        if latest
        else None,
        terminal_condition=run.Condition(type_="Ready", state=run.Condition.State.CONDITION_SUCCEEDED),
        etag=kept.etag,
    )


def job_from(message: run.Job, *, short_name: str, before: EmulatedJob | None) -> EmulatedJob:
    """
    Read a job from a message; the settings of the emulator alone stay as *before*.

    Raises ValueError for a job that Cloud Run or the emulator would refuse.
    """
    template = message.template.template
    own, *others = template.containers
    if not own.command:
        raise ValueError(f"the emulator runs no images: give the container of {short_name!r} a command.")
    facts: dict[str, Any] = {
        "name": short_name,
        "command": tuple(own.command),
        "args": tuple(own.args),
        "env": {variable.name: variable.value for variable in own.env},
        "max_retries": template.max_retries if "max_retries" in template else 3,
        "timeout": seconds(template.timeout) if "timeout" in template else 600.0,
        "task_count": message.template.task_count or 1,
        "parallelism": message.template.parallelism,
        "container": own.name,
        "sidecars": tuple(each.name for each in others),
        "image": own.image or "emulated",
    }
    return replace(before, **facts) if before else EmulatedJob(**facts)


def execution_message(execution: EmulatedExecution) -> run.Execution:
    """Show an execution as GetExecution and ListExecutions do, with the real environment of its processes."""
    return run.Execution(
        name=execution.name,
        uid=execution.uid,
        generation=1,
        observed_generation=1,
        creator=ACCOUNT,
        launch_stage=GA,
        job=execution.job.name,
        task_count=execution.task_count,
        parallelism=execution.parallelism,
        template=_template_of(execution),
        # Cloud Run sets this when it accepts the execution, long before the container starts.
        create_time=execution.created_at,
        start_time=execution.created_at,
        update_time=execution.completed_at or execution.started_at or execution.created_at,
        completion_time=execution.completed_at,
        delete_time=execution.deleted_at,
        expire_time=execution.deleted_at and execution.deleted_at + timedelta(days=30),
        reconciling=not execution.phase.over,
        conditions=conditions(execution),
        running_count=execution.count(Phase.RUNNING),
        succeeded_count=execution.count(Phase.SUCCEEDED),
        failed_count=execution.count(Phase.FAILED),
        cancelled_count=execution.count(Phase.CANCELLED),
        retried_count=execution.retried_count,
        log_uri=execution.log.as_uri(),
        etag=execution.etag,
    )


def task_message(execution: EmulatedExecution, task: EmulatedTask) -> run.Task:
    """Show a task as GetTask does, with the result of its last attempt."""
    template = _template_of(execution)
    return run.Task(
        name=f"{execution.name}/tasks/{execution.short_name}-task{task.index}",
        job=execution.job.name,
        execution=execution.short_name,
        index=task.index,
        retried=task.retried,
        containers=template.containers,
        max_retries=template.max_retries,
        timeout=template.timeout,
        service_account=template.service_account,
        execution_environment=template.execution_environment,
        create_time=execution.created_at,
        scheduled_time=execution.created_at,
        start_time=task.started_at,
        completion_time=task.completed_at,
        log_uri=execution.log.as_uri(),
        last_attempt_result=_attempt(task),
        etag=execution.etag,
    )


def operation_message(execution: EmulatedExecution, *, name: str) -> operations_pb2.Operation:
    """Make the long-running operation that ends with *execution*."""
    shown = packed(execution_message(execution))
    operation = operations_pb2.Operation(name=name, metadata=shown, done=execution.phase.over)
    failed = failure(execution)
    if failed:
        code, message = failed
        operation.error.CopyFrom(status_pb2.Status(code=code.value[0], message=message))
    elif execution.phase.over:
        # Cloud Run answers for a cancelled execution, too.
        operation.response.CopyFrom(shown)
    return operation


def finished(message: object, *, name: str) -> operations_pb2.Operation:
    """Make an operation that is done."""
    shown = packed(message)
    return operations_pb2.Operation(name=name, metadata=shown, done=True, response=shown)


def _attempt(task: EmulatedTask) -> run.TaskAttemptResult | None:
    if task.ending is None:
        return None
    status = status_pb2.Status()
    if not task.ending.succeeded:
        status = status_pb2.Status(code=grpc.StatusCode.ABORTED.value[0], message="The container exited with an error.")
    return run.TaskAttemptResult(status=status, exit_code=task.ending.exit_code, term_signal=task.ending.term_signal)


def _template_of(execution: EmulatedExecution) -> run.TaskTemplate:
    if execution.template is None:
        execution.template = _template(execution.job, execution)
    return execution.template


def _template(job: EmulatedJob, execution: EmulatedExecution | None = None) -> run.TaskTemplate:
    env, args, timeout = (
        (execution.env, execution.args, execution.timeout) if execution else (job.env, job.args, job.timeout)
    )
    resources = run.ResourceRequirements(limits=LIMITS)
    container = run.Container(
        name=job.container,
        image=job.image,
        command=list(job.command),
        args=list(args),
        env=_variables(env),
        resources=resources,
    )
    beside: Mapping[str, Mapping[str, str]] = execution.sidecar_env if execution else {}
    sidecars = [
        run.Container(name=name, image=job.image, env=_variables(beside.get(name, {})), resources=resources)
        for name in job.sidecars
    ]
    return run.TaskTemplate(
        containers=[container, *sidecars],
        max_retries=job.max_retries,
        timeout=timedelta(seconds=timeout),
        service_account=ACCOUNT,
        execution_environment=run.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2,
    )


def _variables(env: Mapping[str, str]) -> list[run.EnvVar]:
    return [run.EnvVar(name=name, value=value) for name, value in env.items()]
