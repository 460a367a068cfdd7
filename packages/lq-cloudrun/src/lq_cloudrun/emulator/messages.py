"""Shows jobs, executions, tasks and operations as Google's messages."""

from datetime import timedelta

from google.cloud.run_v2 import types as run
from google.longrunning import operations_pb2
from google.rpc import status_pb2

from lq_cloudrun.emulator.conditions import conditions, failure
from lq_cloudrun.emulator.execution import EmulatedExecution, EmulatedTask, Phase
from lq_cloudrun.emulator.job import EmulatedJob
from lq_cloudrun.emulator.wire import packed


def job_message(job: EmulatedJob, *, name: str, executions: list[EmulatedExecution]) -> run.Job:
    """*job* as GetJob shows it."""
    latest = executions[-1] if executions else None
    return run.Job(
        name=name,
        template=run.ExecutionTemplate(task_count=job.task_count, template=_template(job)),
        execution_count=len(executions),
        latest_created_execution=run.ExecutionReference(
            name=latest.short_name, create_time=latest.created_at, completion_time=latest.completed_at
        )
        if latest
        else None,
        terminal_condition=run.Condition(type_="Ready", state=run.Condition.State.CONDITION_SUCCEEDED),
        etag='"emulated"',
    )


def execution_message(execution: EmulatedExecution) -> run.Execution:
    """*execution* as GetExecution and ListExecutions show it, with the environment its processes really have."""
    return run.Execution(
        name=execution.name,
        job=execution.job.name,
        task_count=execution.task_count,
        template=_template(execution.job, execution),
        # Cloud Run sets this when it accepts the execution, long before the container starts.
        create_time=execution.created_at,
        start_time=execution.created_at,
        completion_time=execution.completed_at,
        reconciling=not execution.phase.over,
        conditions=conditions(execution),
        running_count=execution.count(Phase.RUNNING),
        succeeded_count=execution.count(Phase.SUCCEEDED),
        failed_count=execution.count(Phase.FAILED),
        cancelled_count=execution.count(Phase.CANCELLED),
        retried_count=execution.retried_count,
        log_uri=execution.log.as_uri(),
        etag='"emulated"',
    )


def task_message(execution: EmulatedExecution, task: EmulatedTask) -> run.Task:
    """*task* as GetTask shows it, with the result of its last attempt."""
    template = _template(execution.job, execution)
    return run.Task(
        name=f"{execution.name}/tasks/{execution.short_name}-task{task.index}",
        job=execution.job.name,
        execution=execution.short_name,
        index=task.index,
        retried=task.retried,
        containers=template.containers,
        max_retries=template.max_retries,
        timeout=template.timeout,
        create_time=execution.created_at,
        start_time=task.started_at,
        completion_time=task.completed_at,
        log_uri=execution.log.as_uri(),
        last_attempt_result=run.TaskAttemptResult(exit_code=task.ending.exit_code, term_signal=task.ending.term_signal)
        if task.ending
        else None,
    )


def operation_message(execution: EmulatedExecution, *, name: str) -> operations_pb2.Operation:
    """The long-running operation that ends with *execution*."""
    shown = packed(execution_message(execution))
    operation = operations_pb2.Operation(name=name, metadata=shown, done=execution.phase.over)
    failed = failure(execution)
    if failed:
        code, message = failed
        operation.error.CopyFrom(status_pb2.Status(code=code.value[0], message=message))
    elif execution.phase.over:
        # A cancelled execution answers, too: this is how Cloud Run does it.
        operation.response.CopyFrom(shown)
    return operation


def _template(job: EmulatedJob, execution: EmulatedExecution | None = None) -> run.TaskTemplate:
    env, args, seconds = (
        (execution.env, execution.args, execution.timeout) if execution else (job.env, job.args, job.timeout)
    )
    container = run.Container(
        name=job.container,
        image=job.image,
        command=list(job.command),
        args=list(args),
        env=[run.EnvVar(name=name, value=value) for name, value in env.items()],
    )
    return run.TaskTemplate(
        containers=[container, *(run.Container(name=name, image=job.image) for name in job.sidecars)],
        max_retries=job.max_retries,
        timeout=timedelta(seconds=seconds),
    )
