"""A container does not start, or dies before the claim: its record is dispatched again, and fails in the end."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from grpc import StatusCode

import container_tasks as shop
from cloud import cloud
from lq_cloudrun.emulator import Phase
from lq_core import QueueConfig, QueueService, TaskFailedError, TaskStatus, Worker


async def test_a_container_that_dies_before_the_claim_is_replaced(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    program = f"test -e {marker} && exec {sys.executable} -m lq_cloudrun; touch {marker}; kill -9 $$"
    async with cloud(queue, address, job={"command": ["sh", "-c", program]}) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add.using(backoff=shop.AT_ONCE), 1, second=2)

        assert await sent.wait(timeout=60) == 3
        kept = await sky.record(sent.record)
        assert (kept.losses, kept.retry_count, kept.attempt) == (1, 0, 1)
        assert "without claiming it" in str(kept.history)
        assert len(sky.emulator.executions()) == 2


async def test_with_retries_of_cloud_run_a_container_that_dies_before_the_claim_claims_after_its_restart(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    program = f"test -e {marker} && exec {sys.executable} -m lq_cloudrun; touch {marker}; kill -9 $$"
    job = {"command": ["sh", "-c", program], "max_retries": 3}
    async with cloud(queue, address, job=job) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await sent.wait(timeout=60) == 3
        kept = await sky.record(sent.record)
        assert (kept.losses, kept.retry_count, kept.attempt) == (0, 0, 1)
        assert len(sky.emulator.executions()) == 1


async def test_an_image_that_cannot_start_is_a_lost_dispatch(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sky.emulator.faults.fail_image("shop")
        sent = await sky.service.enqueue(shop.add.using(backoff=shop.AT_ONCE), 1, second=2)

        assert await sent.wait(timeout=60) == 3
        kept = await sky.record(sent.record)
        assert "CONTAINER_MISSING" in str(kept.history)
        assert len(sky.emulator.executions()) == 2


async def test_a_job_that_never_claims_fails_its_record_in_the_end(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, job={"command": ["true"]}) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add.using(backoff=shop.AT_ONCE), 1, second=2)

        with pytest.raises(TaskFailedError, match=r"succeeded \(exit code 0\) without claiming it"):
            await sent.wait(timeout=60)
        assert len(sky.emulator.executions()) == 6


async def test_an_execution_that_does_not_start_in_time_is_cancelled_and_replaced(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, start_deadline=1e-6) as sky:
        with sky.emulator.faults.hold_starts("shop"):
            sent = await sky.service.enqueue(shop.add.using(backoff=shop.AT_ONCE), 1, second=2)
            backend = await sky.backend()
            dispatched = await backend.execute(sky.service, sent.record)
            [lost] = await backend.reconcile_many(sky.service, [dispatched])
        # The next execution may take its time, however slow the machine is.
        patient = replace(sky.config, start_deadline=900)
        async with QueueService(replace(queue, execution_backend=patient)) as service, Worker(service):
            assert await sent.wait(timeout=60) == 3

        assert "start_deadline" in str(lost.history)
        first, _ = sky.emulator.executions()
        assert (await sky.emulator.wait_for(first, Phase.CANCELLED)).cancelled_count == 1


@pytest.mark.parametrize("code", [StatusCode.PERMISSION_DENIED, StatusCode.UNIMPLEMENTED])
async def test_the_start_deadline_holds_where_executions_may_not_be_looked_at(
    queue: QueueConfig, address: str, code: StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloud(queue, address, job={"command": ["true"]}, start_deadline=0.3) as sky:
        sky.emulator.faults.refuse("ListExecutions", code, times=1000)
        sky.emulator.faults.refuse("GetExecution", code, times=1000)
        async with Worker(sky.service):
            sky.emulator.faults.lose_reply("RunJob")
            sent = await sky.service.enqueue(shop.add.using(backoff=shop.AT_ONCE), 1, second=2)

            with pytest.raises(TaskFailedError, match="did not claim it within start_deadline"):
                await sent.wait(timeout=60)
        assert ("roles/run.viewer" in caplog.text) is (code is StatusCode.PERMISSION_DENIED)


async def test_a_single_look_that_is_refused_applies_the_start_deadline(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, start_deadline=1e-6) as sky:
        with sky.emulator.faults.hold_starts("shop"):
            sky.emulator.faults.refuse("GetExecution", StatusCode.PERMISSION_DENIED)
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            backend = await sky.backend()
            dispatched = await backend.execute(sky.service, sent.record)
            lost = await backend.reconcile(sky.service, dispatched)

            assert lost is not None
            assert (lost.status, lost.losses) == (TaskStatus.PENDING, 1)
            assert sky.emulator.calls("CancelExecution") == 1


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED])
async def test_the_start_deadline_holds_while_executions_cannot_be_listed(
    queue: QueueConfig, address: str, code: StatusCode
) -> None:
    async with cloud(queue, address, start_deadline=1e-6) as sky:
        with sky.emulator.faults.hold_starts("shop"):
            sky.emulator.faults.refuse("ListExecutions", code, times=2)
            backend, sent = await sky.backend(), await sky.service.enqueue(shop.add, 1, second=2)
            named = await backend.execute(sky.service, sent.record)
            [lost] = await backend.reconcile_many(sky.service, [named])
            sky.emulator.faults.lose_reply("RunJob")
            other = await sky.service.enqueue(shop.add, 1, second=2)
            reserved = await backend.execute(sky.service, other.record)
            [released] = await backend.reconcile_many(sky.service, [reserved])

        assert (lost.status, lost.losses) == (TaskStatus.PENDING, 1)
        assert (released.status, released.losses) == (TaskStatus.PENDING, 0)
        assert sky.emulator.calls("CancelExecution") == 1


@pytest.mark.parametrize(
    "env, line",
    [
        ({"LITESTAR_QUEUES_CONFIG_FACTORY": "nowhere:config"}, "there is no module 'nowhere'"),
        ({"SHOP_QUEUE": "sqlite:/dev/null/x"}, "/dev/null/x"),
        (
            {
                "LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:queue_out_of_reach",
                "LITESTAR_QUEUES_CONNECT_SECONDS": "0.05",
            },
            "does not answer",
        ),
    ],
    ids=["configuration", "file", "database"],
)
async def test_a_container_that_cannot_begin_says_why_and_its_record_is_dispatched_again(
    queue: QueueConfig, address: str, env: dict[str, str], line: str
) -> None:
    async with cloud(queue, address, env=env) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        lost = await sky.until(sent.record, lambda record: record.losses == 1)
        [name] = sky.emulator.executions()
        refused = next(each for each in sky.emulator.output(name).splitlines() if "cloudrun.refused" in each)

        assert line in refused
        assert (lost.status, lost.retry_count) == (TaskStatus.PENDING, 0)
        assert "failed (exit code 1) without claiming it" in str(lost.history)


async def test_twenty_dead_executions_behind_ten_long_ones_are_all_settled(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, profiles=["broken"]) as sky, Worker(sky.service):
        sky.emulator.faults.fail_image("broken", times=200)
        with sky.emulator.faults.hold_starts("shop") as hold:
            long = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(10))
            broken = shop.add.using(execution_profile="broken", backoff=shop.AT_ONCE)
            dead = await sky.service.enqueue_many(broken.call(number, second=1) for number in range(20))
            ended = [await sky.service.wait(each.id, timeout=60) for each in dead]
            hold.release()
            results = [await each.wait(timeout=60) for each in long]

        assert {each.status for each in ended} == {TaskStatus.FAILED}
        assert results == [number + 1 for number in range(10)]


async def test_an_execution_that_vanished_is_unknown_and_not_failed(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        with sky.emulator.faults.hold_starts("shop") as hold:
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            record = await sky.until(sent.record, lambda record: "/executions/" in (record.execution_ref or ""))
            sky.emulator.faults.vanish(str(record.execution_ref))
            asked = sky.emulator.calls("GetExecution")
            await sky.emulator.wait_until(lambda: sky.emulator.calls("GetExecution") > asked + 3)
            hold.release()

            assert await sent.wait(timeout=60) == 3
        assert len(sky.emulator.executions()) == 1
