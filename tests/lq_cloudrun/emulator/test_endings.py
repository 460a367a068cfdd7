"""How executions end: exit codes, retries, timeouts, cancellation, and nothing left alive."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from google.api_core.exceptions import FailedPrecondition, GoogleAPICallError
from google.cloud.run_v2 import types as run
from google.longrunning.operations_pb2 import GetOperationRequest

from lq_cloudrun.emulator import Clients, EmulatedJob, Emulator, Phase, connected

State = run.Condition.State
Reason = run.Condition.ExecutionReason

IGNORES_SIGTERM = "trap '' TERM; echo ready; while :; do sleep 1; done"
ENDS_ON_SIGTERM = "trap 'echo bye; exit 0' TERM; echo ready; sleep 60 & wait"


def a_job(
    script: str, *, max_retries: int = 0, timeout: float = 60, grace: float = 10, task_count: int = 1
) -> EmulatedJob:
    return EmulatedJob(
        name="reports",
        command=["sh", "-c", script],
        max_retries=max_retries,
        timeout=timeout,
        grace=grace,
        task_count=task_count,
    )


async def started(clients: Clients, emulator: Emulator) -> str:
    operation = await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
    return operation.metadata.name


def counts(execution: run.Execution) -> Sequence[int]:
    return (
        execution.running_count,
        execution.succeeded_count,
        execution.failed_count,
        execution.cancelled_count,
        execution.retried_count,
    )


async def test_success_completes_the_execution_and_its_operation() -> None:
    async with Emulator([a_job("exit 0")]) as emulator, connected(emulator.address) as clients:
        operation = await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
        await emulator.wait_until_over(operation.metadata.name)
        ended = await operation.result(timeout=5)

    assert isinstance(ended, run.Execution)
    assert (ended.conditions[0].type_, ended.conditions[0].state) == ("Completed", State.CONDITION_SUCCEEDED)
    assert counts(ended) == (0, 1, 0, 0, 0)


async def test_an_exit_code_is_shown_by_condition_operation_and_task() -> None:
    async with Emulator([a_job("exit 6")]) as emulator, connected(emulator.address) as clients:
        operation = await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
        ended = await emulator.wait_for(operation.metadata.name, Phase.FAILED)
        short = ended.name.rpartition("/")[2]
        task = await clients.tasks.get_task(name=f"{ended.name}/tasks/{short}-task0", timeout=5)
        answer = await clients.jobs.get_operation(GetOperationRequest(name=operation.operation.name), timeout=5)
        with pytest.raises(GoogleAPICallError, match="exit code: 6"):
            await operation.result(timeout=5)

    completed = ended.conditions[0]
    assert (completed.state, completed.execution_reason) == (State.CONDITION_FAILED, Reason.NON_ZERO_EXIT_CODE)
    assert completed.message == (
        f"Task {short}-task0 failed with exit code: 6 and message: The container exited with an error."
    )
    assert counts(ended) == (0, 0, 1, 0, 0)
    assert answer.error.code == 10
    assert (task.last_attempt_result.exit_code, task.last_attempt_result.term_signal) == (6, 0)


async def test_a_failed_task_is_started_again_and_counted_as_failed_only_at_last(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"echo attempt $CLOUD_RUN_TASK_ATTEMPT; cat {gate}; exit 3"
    async with Emulator([a_job(script, max_retries=1)]) as emulator, connected(emulator.address) as clients:
        name = await started(clients, emulator)
        await emulator.wait_for_output(name, "attempt 0")
        first = emulator.execution(name)
        await asyncio.to_thread(gate.write_text, "")
        await emulator.wait_for_output(name, "attempt 1")
        second = emulator.execution(name)
        await asyncio.to_thread(gate.write_text, "")
        last = await emulator.wait_for(name, Phase.FAILED)

    assert [counts(execution) for execution in (first, second, last)] == [
        (1, 0, 0, 0, 0),
        (1, 0, 0, 0, 1),
        (0, 0, 1, 0, 1),
    ]
    assert second.conditions[0].state is State.CONDITION_RECONCILING


async def test_a_retry_may_succeed() -> None:
    job = a_job('test "$CLOUD_RUN_TASK_ATTEMPT" = 2', max_retries=3)
    async with Emulator([job]) as emulator, connected(emulator.address) as clients:
        ended = await emulator.wait_for(await started(clients, emulator), Phase.SUCCEEDED)

    assert counts(ended) == (0, 1, 0, 0, 1)


async def test_an_attempt_that_ignores_sigterm_is_killed_after_its_grace() -> None:
    job = a_job(IGNORES_SIGTERM, timeout=1, grace=0.2)
    async with Emulator([job]) as emulator, connected(emulator.address) as clients:
        operation = await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
        ended = await emulator.wait_for(operation.metadata.name, Phase.FAILED)
        answer = await clients.jobs.get_operation(GetOperationRequest(name=operation.operation.name), timeout=5)
        short = ended.name.rpartition("/")[2]
        task = await clients.tasks.get_task(name=f"{ended.name}/tasks/{short}-task0", timeout=5)

    assert ended.conditions[0].message.endswith("The configured timeout was reached.")
    assert answer.error.code == 4
    assert task.last_attempt_result.term_signal == 9


async def test_the_timeout_holds_for_each_attempt_also_for_one_that_obeys_sigterm() -> None:
    job = a_job(ENDS_ON_SIGTERM, timeout=1, max_retries=1)
    async with Emulator([job]) as emulator, connected(emulator.address) as clients:
        name = await started(clients, emulator)
        ended = await emulator.wait_for(name, Phase.FAILED)

        assert emulator.output(name) == "ready\nbye\n" * 2
    assert ended.conditions[0].message.endswith("The configured timeout was reached.")
    assert counts(ended) == (0, 0, 1, 0, 1)


async def test_an_execution_may_have_another_timeout_than_its_job() -> None:
    async with Emulator([a_job(ENDS_ON_SIGTERM)]) as emulator, connected(emulator.address) as clients:
        request = run.RunJobRequest(name=emulator.job_name("reports"), overrides={"timeout": "1s"})
        operation = await clients.jobs.run_job(request, timeout=5)
        ended = await emulator.wait_for(operation.metadata.name, Phase.FAILED)

    assert str(ended.template.timeout) == "0:00:01"


async def test_cancelling_asks_the_process_to_end_and_answers_the_operation_without_error() -> None:
    async with Emulator([a_job(ENDS_ON_SIGTERM, max_retries=3)]) as emulator, connected(emulator.address) as clients:
        operation = await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
        name = operation.metadata.name
        await emulator.wait_for_output(name, "ready")
        cancelling = await clients.executions.cancel_execution(name=name, timeout=5)
        ended = await emulator.wait_for(name, Phase.CANCELLED)
        answer = await clients.jobs.get_operation(GetOperationRequest(name=operation.operation.name), timeout=5)

        assert emulator.output(name) == "ready\nbye\n"
    completed = ended.conditions[0]
    assert cancelling.metadata.conditions[0].execution_reason is Reason.CANCELLING
    assert (completed.state, completed.execution_reason) == (State.CONDITION_FAILED, Reason.CANCELLED)
    assert counts(ended) == (0, 0, 0, 1, 0)
    assert (answer.done, answer.HasField("response"), answer.HasField("error")) == (True, True, False)


async def test_what_is_over_or_being_cancelled_cannot_be_cancelled() -> None:
    async with Emulator([a_job(IGNORES_SIGTERM, grace=0.2)]) as emulator, connected(emulator.address) as clients:
        name = await started(clients, emulator)
        await emulator.wait_for_output(name, "ready")
        await clients.executions.cancel_execution(name=name, timeout=5)

        with pytest.raises(FailedPrecondition, match="not running"):
            await clients.executions.cancel_execution(name=name, timeout=5)
        await emulator.wait_for(name, Phase.CANCELLED)
        with pytest.raises(FailedPrecondition, match="not running"):
            await clients.executions.cancel_execution(name=name, timeout=5)


async def test_an_execution_cancelled_before_its_start_never_runs() -> None:
    async with Emulator([a_job("echo ran")]) as emulator, connected(emulator.address) as clients:
        with emulator.faults.hold_starts("reports"):
            name = await started(clients, emulator)
            await clients.executions.cancel_execution(name=name, timeout=5)
            ended = await emulator.wait_for(name, Phase.CANCELLED)

        assert emulator.output(name) == ""
    assert counts(ended) == (0, 0, 0, 1, 0)


async def test_one_failed_task_fails_the_execution_when_all_are_done() -> None:
    job = a_job('test "$CLOUD_RUN_TASK_INDEX" != 1', task_count=3)
    async with Emulator([job]) as emulator, connected(emulator.address) as clients:
        ended = await emulator.wait_for(await started(clients, emulator), Phase.FAILED)

    assert counts(ended) == (0, 2, 1, 0, 0)
    assert "-task1 failed with exit code: 1" in ended.conditions[0].message


async def test_a_command_that_does_not_exist_fails_with_a_reason_in_its_output() -> None:
    jobs = [EmulatedJob(name="reports", command=["no-such-program"], max_retries=0)]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        name = await started(clients, emulator)
        await emulator.wait_for(name, Phase.FAILED)

        assert "could not be started" in emulator.output(name)
        assert "no-such-program" in emulator.output(name)


async def test_descendants_end_with_the_main_process(tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    # The file ends when no process has the other side open.
    all_gone = asyncio.create_task(asyncio.to_thread(held.read_bytes))
    job = a_job(f"exec 3>{held}; sleep 600 & exit 0")
    async with Emulator([job]) as emulator, connected(emulator.address) as clients:
        await emulator.wait_for(await started(clients, emulator), Phase.SUCCEEDED)

        assert await asyncio.wait_for(all_gone, timeout=10) == b""


async def test_closing_the_emulator_ends_everything_it_started(tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    all_gone = asyncio.create_task(asyncio.to_thread(held.read_bytes))
    job = a_job(f"exec 3>{held}; {IGNORES_SIGTERM}", grace=600)
    async with Emulator([job]) as emulator, connected(emulator.address) as clients:
        await emulator.wait_for_output(await started(clients, emulator), "ready")

    assert await asyncio.wait_for(all_gone, timeout=10) == b""
