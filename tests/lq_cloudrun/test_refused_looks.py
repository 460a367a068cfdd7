"""What Cloud Run refuses to show or to cancel costs a look, and neither a record nor an exception."""

from typing import Any, Final

import pytest
from grpc import StatusCode

import container_tasks as shop
from cloud import Cloud, cloud
from lq_cloudrun.emulator import connected
from lq_core import QueueConfig, QueuedTaskRecord, TaskStatus
from programs import until

LATE: Final[dict[str, Any]] = {"job": {"start_delay": 60}}


async def dispatched(sky: Cloud) -> QueuedTaskRecord:
    """Dispatch a record, and return it as it is stored."""
    sent = await sky.service.enqueue(shop.add, 1, second=2)
    await (await sky.backend()).dispatch(sky.service, sent.record)
    return await sky.record(sent.record)


async def test_a_cancellation_fails_when_the_execution_of_a_reservation_cannot_be_looked_for(
    queue: QueueConfig, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloud(queue, address, **LATE) as sky:
        sky.emulator.faults.lose_reply("RunJob")
        reserved = await dispatched(sky)
        sky.emulator.faults.refuse("ListExecutions", StatusCode.UNAVAILABLE)

        assert await (await sky.backend()).cancel(sky.service, reserved) is False
        assert "cloudrun.cancel_failed" in caplog.text
        assert await (await sky.backend()).cancel(sky.service, reserved) is True


async def test_a_cancellation_fails_when_cloud_run_refuses_it(
    queue: QueueConfig, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloud(queue, address, **LATE) as sky:
        record = await dispatched(sky)
        sky.emulator.faults.refuse("CancelExecution", StatusCode.PERMISSION_DENIED)

        assert await (await sky.backend()).cancel(sky.service, record) is False
        assert "cloudrun.cancel_failed" in caplog.text


async def test_in_pull_mode_a_refused_look_is_repeated(
    queue: QueueConfig, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloud(queue, address, dispatch="pull", **LATE) as sky:
        await sky.service.enqueue(shop.add, 1, second=2)
        sky.emulator.faults.refuse("ListExecutions", StatusCode.PERMISSION_DENIED)
        backend = await sky.backend()

        assert await backend.capacity(sky.service) == 0
        assert (sky.emulator.executions(), "cloudrun.look_failed" in caplog.text) == ([], True)

        async def has_started() -> bool:
            return await backend.capacity(sky.service) == 0 and len(sky.emulator.executions()) == 1

        await until(has_started, what="an execution is started at the next look")


async def test_an_ending_whose_task_cannot_be_read_is_described_by_its_execution(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, job={"command": ["sh", "-c", "kill -9 $$"]}) as sky:
        record = await dispatched(sky)
        await sky.emulator.wait_until_over(str(record.execution_ref))
        sky.emulator.faults.refuse("GetTask", StatusCode.PERMISSION_DENIED)

        [lost] = await (await sky.backend()).reconcile_many(sky.service, [record])

        assert lost.status is TaskStatus.PENDING
        assert "terminated on signal 9" in str(lost.history[-1].failure)


async def run_by_hand(sky: Cloud) -> None:
    """Start an execution that no dispatcher has started, as the console does."""
    async with connected(sky.emulator.address) as clients:
        await clients.jobs.run_job(name=sky.emulator.job_name("shop"), timeout=5)


async def test_an_execution_that_was_started_by_hand_is_not_taken_for_that_of_a_record(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, **LATE) as sky:
        sky.emulator.faults.lose_reply("RunJob")
        reserved = await dispatched(sky)
        [name] = sky.emulator.executions()
        await run_by_hand(sky)

        found = await (await sky.backend()).reconcile(sky.service, reserved)

        assert found is not None
        assert found.execution_ref == name


async def test_in_pull_mode_an_execution_that_was_started_by_hand_does_not_count(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, dispatch="pull", max_in_flight=1, **LATE) as sky:
        await run_by_hand(sky)
        await sky.service.enqueue(shop.add, 1, second=2)

        assert await (await sky.backend()).capacity(sky.service) == 0
        assert len(sky.emulator.executions()) == 2
