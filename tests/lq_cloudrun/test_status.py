"""The status of an execution: its condition decides, not its times or counts."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from google.cloud.run_v2 import types as run
from grpc import StatusCode

import container_tasks as shop
from cloud import cloud
from lq_cloudrun import CloudRunExecutionStatus
from lq_cloudrun.executions.status import status_of
from lq_core import QueueConfig

State = run.Condition.State
Reason = run.Condition.ExecutionReason
RUNNING = (False, False, False, True)
SUCCEEDED = (True, False, False, False)
FAILED = (False, True, False, False)
CANCELLED = (False, False, True, False)


def words(status: CloudRunExecutionStatus) -> tuple[bool, bool, bool, bool]:
    return status.succeeded, status.failed, status.cancelled, status.running


def completed(state: State, reason: Reason | None = None) -> run.Execution:
    condition = run.Condition(type_="Completed", state=state, execution_reason=reason, message="why")
    return run.Execution(conditions=[condition])


@pytest.mark.parametrize(
    "execution, expected",
    [
        (completed(State.CONDITION_SUCCEEDED), SUCCEEDED),
        (completed(State.CONDITION_PENDING), RUNNING),
        (completed(State.CONDITION_RECONCILING, Reason.CANCELLING), RUNNING),
        (completed(State.CONDITION_FAILED, Reason.CANCELLED), CANCELLED),
        (completed(State.CONDITION_FAILED, Reason.DELETED), CANCELLED),
        (completed(State.CONDITION_FAILED, Reason.NON_ZERO_EXIT_CODE), FAILED),
        (run.Execution(completion_time=datetime.now(UTC), cancelled_count=1), RUNNING),
        (run.Execution(conditions=[run.Condition(type_="Started", state=State.CONDITION_FAILED)]), RUNNING),
        (SimpleNamespace(failed_count=1), FAILED),
        (SimpleNamespace(cancelled_count=1), CANCELLED),
        (SimpleNamespace(succeeded_count=1), SUCCEEDED),
        (SimpleNamespace(running_count=1), RUNNING),
    ],
)
def test_an_execution_reads_as(execution: object, expected: tuple[bool, bool, bool, bool]) -> None:
    assert words(status_of(execution)) == expected


def test_the_defaults_say_running() -> None:
    assert words(CloudRunExecutionStatus()) == RUNNING


async def test_an_unknown_status_reads_as_running_with_the_reason(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky:
        backend = await sky.backend()
        sky.emulator.faults.refuse("GetExecution", StatusCode.UNAVAILABLE)
        name = f"{sky.emulator.job_name('shop')}/executions/shop-abcde"
        away = await backend.check_execution_status(name)
        gone = await backend.check_execution_status(name)

    assert (words(away), words(gone)) == (RUNNING, RUNNING)
    assert "ServiceUnavailable" in str(away.error)
    assert "does not know" in str(gone.error)


async def test_the_status_of_an_execution_has_its_exit_code(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, job={"command": ["sh", "-c", "exit 6"]}) as sky:
        backend = await sky.backend()
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        name = await backend.dispatch(sky.service, sent.record)
        assert name is not None
        await sky.emulator.wait_until_over(name)

        assert (await backend.check_execution_status(name)).summary == "failed (exit code 6, CLAIM_LOST)"


async def test_a_client_that_cannot_cancel_says_so(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky:
        backend = await sky.backend()
        sent = await sky.service.enqueue(shop.hang)
        record = await backend.execute(sky.service, sent.record)
        assert backend.executions_client is not None
        vars(backend)["executions_client"] = SimpleNamespace()

        assert await backend.cancel(sky.service, record) is False
