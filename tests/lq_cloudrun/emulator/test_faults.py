"""Injected faults on the way to Cloud Run, as Google's own clients see them."""

import asyncio

import pytest
from google.api_core.exceptions import (
    DeadlineExceeded,
    GoogleAPICallError,
    InternalServerError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.cloud.run_v2 import types as run
from google.longrunning.operations_pb2 import GetOperationRequest
from grpc import StatusCode

from lq_cloudrun.emulator import Clients, EmulatedJob, Emulator, ImageFailure, Phase, connected

State = run.Condition.State
Reason = run.Condition.CommonReason


def a_job(script: str = "true", *, max_retries: int = 0, start_delay: float = 0) -> EmulatedJob:
    return EmulatedJob(name="reports", command=["sh", "-c", script], max_retries=max_retries, start_delay=start_delay)


def a_request(emulator: Emulator, *, task: str) -> run.RunJobRequest:
    override = run.RunJobRequest.Overrides.ContainerOverride(env=[run.EnvVar(name="LQ_TASK_ID", value=task)])
    return run.RunJobRequest(
        name=emulator.job_name("reports"), overrides=run.RunJobRequest.Overrides(container_overrides=[override])
    )


async def found(clients: Clients, emulator: Emulator, *, task: str) -> list[str]:
    """Return the executions with *task* in their environment, as a dispatcher does after a lost reply."""
    pages = await clients.executions.list_executions(parent=emulator.job_name("reports"), timeout=5)
    return [
        execution.name
        async for execution in pages
        if any(
            (variable.name, variable.value) == ("LQ_TASK_ID", task) for variable in execution.template.containers[0].env
        )
    ]


@pytest.mark.parametrize(
    "code, error",
    [
        (StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted),
        (StatusCode.UNAVAILABLE, ServiceUnavailable),
        (StatusCode.INTERNAL, InternalServerError),
        (StatusCode.PERMISSION_DENIED, PermissionDenied),
    ],
    ids=["429", "503", "500", "403"],
)
async def test_a_refusal_starts_nothing_and_is_used_up_by_the_next_calls(
    code: StatusCode, error: type[GoogleAPICallError]
) -> None:
    async with Emulator([a_job()]) as emulator, connected(emulator.address) as clients:
        emulator.faults.refuse("RunJob", code, times=2)

        with pytest.raises(error):
            await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
        with pytest.raises(error):
            await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
        assert emulator.executions() == []
        await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
        assert (len(emulator.executions()), emulator.calls("RunJob")) == (1, 3)


async def test_after_a_lost_reply_the_execution_is_found_by_its_environment() -> None:
    async with Emulator([a_job()]) as emulator, connected(emulator.address) as clients:
        emulator.faults.lose_reply("RunJob")

        with pytest.raises(ServiceUnavailable):
            await clients.jobs.run_job(a_request(emulator, task="7"), timeout=5)
        assert await found(clients, emulator, task="7") == emulator.executions()
        assert len(emulator.executions()) == 1
        assert await found(clients, emulator, task="8") == []


async def test_after_silence_until_the_deadline_the_execution_is_found_by_its_environment() -> None:
    async with Emulator([a_job()]) as emulator, connected(emulator.address) as clients:
        emulator.faults.never_reply("RunJob")

        with pytest.raises(DeadlineExceeded):
            await clients.jobs.run_job(a_request(emulator, task="7"), timeout=0.5)
        assert await found(clients, emulator, task="7") == emulator.executions()
        assert len(emulator.executions()) == 1


async def test_after_a_cancelled_call_the_execution_is_found_by_its_environment() -> None:
    async with Emulator([a_job()]) as emulator, connected(emulator.address) as clients:
        emulator.faults.never_reply("RunJob")
        call = asyncio.create_task(clients.jobs.run_job(a_request(emulator, task="7"), timeout=30))
        await emulator.wait_until(lambda: len(emulator.executions()) == 1)
        call.cancel()

        with pytest.raises(asyncio.CancelledError):
            await call
        assert await found(clients, emulator, task="7") == emulator.executions()


async def test_the_work_on_a_late_request_goes_on_after_its_client_gave_up() -> None:
    async with Emulator([a_job()]) as emulator, connected(emulator.address) as clients:
        with emulator.faults.hold("RunJob") as hold:
            with pytest.raises(DeadlineExceeded):
                await clients.jobs.run_job(a_request(emulator, task="7"), timeout=0.5)
            absent = await found(clients, emulator, task="7")
            hold.release()
            await emulator.wait_until(lambda: len(emulator.executions()) == 1)

        assert absent == []
        assert await found(clients, emulator, task="7") == emulator.executions()


async def test_a_call_is_delayed_before_and_after_its_work() -> None:
    async with Emulator([a_job()]) as emulator, connected(emulator.address) as clients:
        emulator.faults.delay("RunJob", before=0.05)
        emulator.faults.delay("RunJob", after=60)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await clients.jobs.run_job(a_request(emulator, task="7"), timeout=5)
        took = loop.time() - began

        with pytest.raises(DeadlineExceeded):
            await clients.jobs.run_job(a_request(emulator, task="8"), timeout=0.5)
        assert took >= 0.05
        assert len(await found(clients, emulator, task="8")) == 1


async def test_an_execution_that_vanished_is_not_found_and_not_listed() -> None:
    async with Emulator([a_job()]) as emulator, connected(emulator.address) as clients:
        operation = await clients.jobs.run_job(a_request(emulator, task="7"), timeout=5)
        emulator.faults.vanish(operation.metadata.name)

        with pytest.raises(NotFound):
            await clients.executions.get_execution(name=operation.metadata.name, timeout=5)
        with pytest.raises(NotFound):
            await clients.executions.cancel_execution(name=operation.metadata.name, timeout=5)
        assert await found(clients, emulator, task="7") == []
        assert emulator.executions() == [operation.metadata.name]


@pytest.mark.parametrize("reason", list(ImageFailure), ids=lambda reason: reason.name)
async def test_a_container_that_cannot_start_fails_the_execution_without_a_failed_task(reason: ImageFailure) -> None:
    async with Emulator([a_job("echo ran")]) as emulator, connected(emulator.address) as clients:
        emulator.faults.fail_image("reports", reason=reason)
        operation = await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
        ended = await emulator.wait_for(operation.metadata.name, Phase.FAILED)
        answer = await clients.jobs.get_operation(GetOperationRequest(name=operation.operation.name), timeout=5)

        assert emulator.output(ended.name) == ""
    assert (ended.conditions[0].state, ended.conditions[0].reason) == (State.CONDITION_FAILED, Reason[reason.name])
    assert (ended.failed_count, ended.cancelled_count, ended.succeeded_count) == (0, 0, 0)
    assert answer.HasField("error")


async def test_a_spurious_retry_starts_a_task_again_although_it_succeeded() -> None:
    async with Emulator([a_job("echo attempt $CLOUD_RUN_TASK_ATTEMPT")]) as emulator:
        async with connected(emulator.address) as clients:
            emulator.faults.retry_spuriously("reports")
            names = [
                (await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)).metadata.name
                for _ in range(2)
            ]
            first, second = [await emulator.wait_for(name, Phase.SUCCEEDED) for name in names]

        assert emulator.output(first.name) == "attempt 0\nattempt 1\n"
        assert emulator.output(second.name) == "attempt 0\n"
    assert (first.retried_count, second.retried_count) == (1, 0)


async def test_a_held_start_is_created_and_runs_when_it_is_released() -> None:
    async with Emulator([a_job("echo ran")]) as emulator, connected(emulator.address) as clients:
        hold = emulator.faults.hold_starts("reports")
        operation = await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
        await emulator.wait_until(lambda: hold.waiting == 1)
        before = await clients.executions.get_execution(name=operation.metadata.name, timeout=5)
        hold.release()
        await emulator.wait_for(before.name, Phase.SUCCEEDED)

        assert emulator.output(before.name) == "ran\n"
    assert (before.conditions[0].state, before.running_count) == (State.CONDITION_PENDING, 0)


async def test_a_start_delay_is_the_time_between_creation_and_start() -> None:
    async with Emulator([a_job(start_delay=0.1)]) as emulator, connected(emulator.address) as clients:
        operation = await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)
        ended = await emulator.wait_for(operation.metadata.name, Phase.SUCCEEDED)

    began = next(condition for condition in ended.conditions if condition.type_ == "Started")
    # The start_time of Cloud Run is long before the start of the container, and so it is here.
    assert str(began.last_transition_time - ended.create_time) >= "0:00:00.1"
    assert ended.start_time == ended.create_time
