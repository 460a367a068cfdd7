"""A container dies in its task, or is restarted, cancelled or stopped: there is one outcome, and no needless start."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import container_tasks as shop
from cloud import Cloud, cloud, events_of
from lq_core import QueueConfig, QueueService, Task, TaskFailedError, TaskStatus, Worker
from lq_core.records import lifecycle

SOON = {"SHOP_HEARTBEAT": "0.5"}


@pytest.fixture
def short_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead container is noticed after two heartbeats: here, after a second."""
    monkeypatch.setenv("SHOP_HEARTBEAT", SOON["SHOP_HEARTBEAT"])


async def running(sky: Cloud, text: str = "hanging") -> str:
    """Wait until the only container prints a text, and return the name of its execution."""
    await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
    [name] = sky.emulator.executions()
    await sky.emulator.wait_for_output(name, text)
    return name


@pytest.mark.usefixtures("short_heartbeat")
async def test_a_container_that_is_killed_in_the_task_is_replaced(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    async with cloud(queue, address, env=SOON) as sky, Worker(sky.service):
        task = shop.die_at_first.using(backoff=shop.AT_ONCE)
        sent = await sky.service.enqueue(task, str(tmp_path / "marker"))

        assert await sent.wait(timeout=60) == "alive"
        kept = await sky.record(sent.record)
        assert (kept.losses, kept.retry_count, kept.attempt) == (1, 0, 2)
        assert len(sky.emulator.executions()) == 2


@pytest.mark.usefixtures("short_heartbeat")
async def test_a_task_that_ends_the_process_well_without_a_result_fails(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, env=SOON) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.leave)

        with pytest.raises(TaskFailedError, match="ended without recording a result"):
            await sent.wait(timeout=60)
        assert len(sky.emulator.executions()) == 1


async def test_with_retries_of_cloud_run_the_same_execution_takes_its_claim_over(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    # The worker may not find the dead container before the restarted container does, however busy the machine is.
    patient = replace(queue, heartbeat_timeout=60.0)
    async with cloud(patient, address, job={"max_retries": 3}) as sky, Worker(sky.service):
        task = shop.die_at_first.using(backoff=shop.AT_ONCE)
        sent = await sky.service.enqueue(task, str(tmp_path / "marker"))

        assert await sent.wait(timeout=60) == "alive"
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.losses) == (2, 1)
        assert len(sky.emulator.executions()) == 1


async def test_with_retries_of_cloud_run_a_recorded_failure_keeps_to_the_backoff_of_the_queue(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    env = {"LITESTAR_QUEUES_EXIT_POLICY": "recorded"}
    async with cloud(queue, address, job={"max_retries": 3}, env=env) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.fail_at_first, str(tmp_path / "marker"))

        assert await sent.wait(timeout=60) == "well in the end"
        ended = [await sky.emulator.wait_until_over(name) for name in sky.emulator.executions()]
        assert [each.retried_count for each in ended] == [0, 0]


async def test_a_spurious_restart_after_the_result_changes_nothing(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sky.emulator.faults.retry_spuriously("shop")
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        await sent.wait(timeout=60)
        [name] = sky.emulator.executions()
        ended = await sky.emulator.wait_until_over(name)

        assert (ended.succeeded_count, ended.retried_count) == (1, 1)
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.result) == (1, "3")


@pytest.mark.parametrize("max_retries", [0, 1])
async def test_a_container_that_dies_after_its_result_changes_nothing(
    queue: QueueConfig, address: str, max_retries: int
) -> None:
    job = {"command": ["sh", "-c", f"{sys.executable} -m lq_cloudrun; kill -9 $$"], "max_retries": max_retries}
    async with cloud(queue, address, job=job) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        await sent.wait(timeout=60)
        [name] = sky.emulator.executions()
        ended = await sky.emulator.wait_until_over(name)
        record = await sky.record(sent.record)

        assert (ended.failed_count, ended.retried_count) == (1, max_retries)
        assert await (await sky.backend()).reconcile(sky.service, record) is None
        assert await sky.record(sent.record) == record
        assert (record.attempt, record.result, len(sky.emulator.executions())) == (1, "3", 1)


@pytest.mark.parametrize("task", [shop.hang, shop.hang_in_a_thread], ids=lambda task: task.name)
async def test_a_running_task_is_cancelled_and_its_execution_ends(
    queue: QueueConfig, address: str, task: Task[[], None]
) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(task)
        name = await running(sky)
        await sky.service.cancel(sent.id)
        await sky.until(sent.record, lambda record: record.has_ended)
        await sky.emulator.wait_until_over(name)

        kept = await sky.record(sent.record)
        assert (kept.status, events_of(kept)) == (TaskStatus.CANCELLED, ["cancelled"])
        assert len(sky.emulator.executions()) == 1


async def test_a_process_that_cannot_speak_to_cloud_run_cancels_all_the_same(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service), QueueService(queue) as web:
        sent = await sky.service.enqueue(shop.hang)
        name = await running(sky)
        assert await web.cancel(sent.id)

        kept = await sky.until(sent.record, lambda record: record.has_ended)
        assert kept.status is TaskStatus.CANCELLED
        await sky.emulator.wait_until_over(name)


async def test_a_record_is_cancelled_before_its_container_starts(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        with sky.emulator.faults.hold_starts("shop"):
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            await sky.until(sent.record, lambda record: "/executions/" in (record.execution_ref or ""))
            await sky.service.cancel(sent.id)
            [name] = sky.emulator.executions()
            ended = await sky.emulator.wait_until_over(name)

        assert ended.cancelled_count == 1
        assert (await sky.record(sent.record)).status is TaskStatus.CANCELLED


async def test_what_has_ended_cannot_be_cancelled(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        await sent.wait(timeout=60)
        [name] = sky.emulator.executions()
        await sky.emulator.wait_until_over(name)

        assert await sky.service.cancel(sent.id) is False
        backend = await sky.backend()
        as_it_was = lifecycle.attach(sent.record, execution_ref=name)
        assert await backend.cancel(sky.service, as_it_was) is False


async def test_a_container_that_is_stopped_releases_its_record_and_spends_no_retry(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.hang)
        name = await running(sky)
        await stop_from_outside(sky, name)
        kept = await sky.until(sent.record, lambda record: bool(record.history))

        assert (events_of(kept)[0], kept.retry_count, kept.losses) == ("interrupted", 0, 0)
        await sky.service.cancel(sent.id)


async def test_what_is_stopped_from_outside_again_and_again_fails_with_advice(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, max_interruptions=2) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.hang)
        await stop_from_outside(sky, await running(sky))
        await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 2)
        _, second = sky.emulator.executions()
        await sky.emulator.wait_for_output(second, "hanging")
        await stop_from_outside(sky, second)

        with pytest.raises(TaskFailedError, match="give it a timeout, or raise timeout=300"):
            await sent.wait(timeout=60)
        assert len(sky.emulator.executions()) == 2


async def test_sigterm_before_the_claim_leaves_the_record_to_the_next_execution(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    # The first container cannot reach its database, and is stopped while it tries.
    factory = "LITESTAR_QUEUES_CONFIG_FACTORY=container_tasks:queue_out_of_reach"
    nowhere = f"test -e {marker} || export {factory}; touch {marker}"
    program = f"{nowhere}; exec {sys.executable} -m lq_cloudrun"
    async with cloud(queue, address, job={"command": ["sh", "-c", program]}) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add.using(backoff=shop.AT_ONCE), 1, second=2)
        name = await running(sky, "cloudrun.connecting")
        await stop_from_outside(sky, name)

        assert await sent.wait(timeout=60) == 3
        assert "stopped_early" in sky.emulator.output(name)
        assert len(sky.emulator.executions()) == 2


async def stop_from_outside(sky: Cloud, name: str) -> None:
    """Cancel an execution as a person does in the console: the record does not show it."""
    backend = await sky.backend()
    assert backend.executions_client is not None
    await backend.executions_client.cancel_execution(name=name, timeout=5)
