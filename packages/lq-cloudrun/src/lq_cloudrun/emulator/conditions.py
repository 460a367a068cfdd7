"""
The state of an execution in the words of Cloud Run: conditions, messages and error codes.

Some of these have not been confirmed on a real project. No other module has such guesses.
"""

from datetime import datetime

import grpc
from google.cloud.run_v2 import types as run

from lq_cloudrun.emulator.execution import EmulatedExecution, Phase

_State = run.Condition.State
_ExecutionReason = run.Condition.ExecutionReason


def conditions(execution: EmulatedExecution) -> list[run.Condition]:
    """Return all conditions of an execution. The first one decides."""
    found = [_completed(execution)]
    if execution.started_at:
        found.extend(
            run.Condition(type_=type_, state=_State.CONDITION_SUCCEEDED, last_transition_time=execution.started_at)
            for type_ in ("ResourcesAvailable", "Started", "ContainerReady")
        )
    elif execution.phase.over:
        found.append(
            run.Condition(type_="Started", state=_State.CONDITION_FAILED, last_transition_time=execution.completed_at)
        )
    else:
        found.append(
            run.Condition(type_="Started", state=_State.CONDITION_PENDING, last_transition_time=execution.created_at)
        )
    if execution.retried_count and not execution.phase.over:
        found.append(
            run.Condition(
                type_="Retry",
                state=_State.CONDITION_SUCCEEDED,
                reason=run.Condition.CommonReason.IMMEDIATE_RETRY,
                message="The task is started again.",
                last_transition_time=execution.started_at,
            )
        )
    return found


def failure(execution: EmulatedExecution) -> tuple[grpc.StatusCode, str] | None:
    """Return the error that ends the operation of an execution; None unless the execution failed."""
    if execution.phase is not Phase.FAILED:
        return None
    if execution.image_failure:
        return grpc.StatusCode.NOT_FOUND, _image_message(execution)
    code, exit_code, message = grpc.StatusCode.ABORTED, 0, "The container exited with an error."
    task = execution.failed_task
    if task and task.ending and task.ending.timed_out:
        code, message = grpc.StatusCode.DEADLINE_EXCEEDED, "The configured timeout was reached."
    elif task and task.ending and task.ending.term_signal:
        message = f"The container terminated on signal {task.ending.term_signal}."
    elif task and task.ending:
        exit_code = task.ending.exit_code
    name = f"{execution.short_name}-task{task.index if task else 0}"
    return code, f"Task {name} failed with exit code: {exit_code} and message: {message}"


def _completed(execution: EmulatedExecution) -> run.Condition:
    match execution.phase:
        case Phase.SUCCEEDED:
            return _completion(_State.CONDITION_SUCCEEDED, execution.completed_at, "Execution completed successfully.")
        case Phase.CANCELLED:
            return _completion(
                _State.CONDITION_FAILED,
                execution.completed_at,
                "The execution was cancelled.",
                execution_reason=_ExecutionReason.CANCELLED,
            )
        case Phase.FAILED if execution.image_failure:
            return run.Condition(
                type_="Completed",
                state=_State.CONDITION_FAILED,
                message=_image_message(execution),
                last_transition_time=execution.completed_at,
                reason=run.Condition.CommonReason[execution.image_failure.name],
            )
        case Phase.FAILED:
            _, message = failure(execution) or (None, "")
            return _completion(
                _State.CONDITION_FAILED,
                execution.completed_at,
                message,
                execution_reason=_ExecutionReason.NON_ZERO_EXIT_CODE,
            )
        case Phase.WAITING | Phase.RUNNING if execution.cancelling:
            return _completion(
                _State.CONDITION_RECONCILING,
                execution.created_at,
                "The execution is being cancelled.",
                execution_reason=_ExecutionReason.CANCELLING,
            )
        case Phase.WAITING:
            return _completion(_State.CONDITION_PENDING, execution.created_at, "Waiting for the execution to start.")
        case Phase.RUNNING:
            return _completion(
                _State.CONDITION_RECONCILING, execution.started_at, "Waiting for the execution to complete."
            )


def _completion(
    state: run.Condition.State,
    at: datetime | None,
    message: str,
    *,
    execution_reason: run.Condition.ExecutionReason | None = None,
) -> run.Condition:
    return run.Condition(
        type_="Completed",
        state=state,
        message=message,
        last_transition_time=at,
        execution_reason=execution_reason,
    )


def _image_message(execution: EmulatedExecution) -> str:
    reason = execution.image_failure.name if execution.image_failure else ""
    return f"The container of image {execution.job.image!r} cannot be started: {reason}."
