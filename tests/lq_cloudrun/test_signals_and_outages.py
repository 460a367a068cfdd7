"""SIGTERM at a bad moment, and a database that is away for a while: there is still one outcome."""

import os
import re
import signal
import sqlite3
from asyncio.subprocess import PIPE, STDOUT, Process, create_subprocess_exec
from contextlib import closing
from pathlib import Path

import pytest

import container_tasks as shop
from cloud import Cloud, cloud, events_of, sqlite_address
from cloud.emulated import CONTAINER, SUPPORT
from container_tasks import queue_config
from lq_cloudrun import CloudRunExitCode
from lq_core import QueueConfig, TaskStatus, Worker


async def container(sky: Cloud, task_id: str, *, epoch: int, address: str, **env: str) -> Process:
    """Start a container by hand, so that the test can send signals to it."""
    return await create_subprocess_exec(
        *CONTAINER,
        env={
            "PYTHONPATH": str(SUPPORT),
            "SHOP_QUEUE": address,
            "LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:queue_config",
            "LITESTAR_QUEUES_TASK_MODULES": "container_tasks",
            "LITESTAR_QUEUES_TASK_ID": task_id,
            "LITESTAR_QUEUES_EPOCH": str(epoch),
            "CLOUD_RUN_EXECUTION": "shop-abcde",
            **env,
        },
        stdout=PIPE,
        stderr=STDOUT,
    )


async def line_with(process: Process, text: str) -> None:
    assert process.stdout is not None
    seen = b""
    while text.encode() not in seen:
        line = await process.stdout.readline()
        assert line, seen.decode()
        seen += line


async def test_a_second_sigterm_does_not_disturb_the_first(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky:
        sent = await sky.service.enqueue(shop.outlive_two_signals)
        process = await container(sky, str(sent.id), epoch=0, address=address)
        await line_with(process, "hanging")
        process.send_signal(signal.SIGTERM)
        await line_with(process, "cleaning")
        process.send_signal(signal.SIGTERM)
        printed, _ = await process.communicate()

        assert "clean" in printed.decode().split()
        assert process.returncode == CloudRunExitCode.FAILURE
        kept = await sky.record(sent.record)
        assert (kept.status, events_of(kept), kept.retry_count) == (TaskStatus.PENDING, ["interrupted"], 0)


async def test_sigterm_after_the_result_changes_nothing(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky:
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        process = await container(sky, str(sent.id), epoch=0, address=address)
        await line_with(process, "cloudrun.ended")
        process.send_signal(signal.SIGTERM)
        await process.communicate()

        assert process.returncode == CloudRunExitCode.SUCCESS
        kept = await sky.record(sent.record)
        assert (kept.status, kept.result, kept.attempt) == (TaskStatus.COMPLETED, "3", 1)


async def test_sigterm_of_a_cancelled_record_is_recorded_as_its_cancellation(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky:
        sent = await sky.service.enqueue(shop.hang)
        process = await container(sky, str(sent.id), epoch=0, address=address)
        await line_with(process, "hanging")
        running = await sky.record(sent.record)
        await sky.service.queue_backend.request_cancel(running.id, running.epoch)
        process.send_signal(signal.SIGTERM)
        await process.communicate()

        assert process.returncode == CloudRunExitCode.CANCELLED
        assert (await sky.record(sent.record)).status is TaskStatus.CANCELLED


async def test_the_limit_of_the_execution_is_recorded_as_a_timeout_when_the_container_knows_it(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address) as sky:
        sent = await sky.service.enqueue(shop.hang)
        factory = {"LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:queue_config_with_a_limit"}
        process = await container(sky, str(sent.id), epoch=0, address=address, **factory)
        await line_with(process, "hanging")
        process.send_signal(signal.SIGTERM)
        await process.communicate()

        kept = await sky.record(sent.record)
        assert (kept.status, kept.error and kept.error.type) == (TaskStatus.FAILED, "TimeoutError")


@pytest.mark.parametrize(
    "seconds, status", [("600", TaskStatus.CANCELLED), ("1", TaskStatus.PENDING)], ids=["early", "at the limit"]
)
async def test_sigterm_before_the_limit_cancels_the_record_if_the_dispatcher_says_so(
    queue: QueueConfig, address: str, seconds: str, status: TaskStatus
) -> None:
    async with cloud(queue, address) as sky:
        sent = await sky.service.enqueue(shop.hang)
        env = {"LITESTAR_QUEUES_CANCEL_WITHIN": seconds}
        process = await container(sky, str(sent.id), epoch=0, address=address, **env)
        await line_with(process, "hanging")
        process.send_signal(signal.SIGTERM)
        await process.communicate()

        assert (await sky.record(sent.record)).status is status


async def test_an_outage_shorter_than_the_limit_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shop.db"
    monkeypatch.setenv("SHOP_QUEUE", sqlite_address(path))
    monkeypatch.setenv("SHOP_HEARTBEAT", "0.5")
    async with cloud(queue_config(), sqlite_address(path), env={"SHOP_HEARTBEAT": "0.5"}) as sky:
        async with Worker(sky.service):
            sent = await sky.service.enqueue(shop.wait_for, str(tmp_path / "go on"))
            await sky.until(sent.record, lambda record: record.status is TaskStatus.RUNNING)
            with closing(sqlite3.connect(path)) as lock:
                lock.execute("BEGIN EXCLUSIVE")
                await sky.emulator.wait_for_output(sky.emulator.executions()[0], "beat 12")
                lock.rollback()
            (tmp_path / "go on").touch()

            assert await sent.wait(timeout=60) == "waited"
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.losses, len(sky.emulator.executions())) == (1, 0, 1)


async def test_a_container_that_was_thought_dead_stops_and_another_one_has_the_outcome(
    queue: QueueConfig, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HEARTBEAT", "0.3")
    async with cloud(queue_config(), address, env={"SHOP_HEARTBEAT": "0.3"}) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.wait_for, str(tmp_path / "go on"))
        await sky.until(sent.record, lambda record: record.status is TaskStatus.RUNNING)
        [first] = sky.emulator.executions()
        await sky.emulator.wait_for_output(first, "process ")
        pid = int(re.findall(r"process (\d+)", sky.emulator.output(first))[0])
        os.kill(pid, signal.SIGSTOP)
        await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 2)
        os.kill(pid, signal.SIGCONT)
        stopped = await sky.emulator.wait_until_over(first)
        (tmp_path / "go on").touch()

        assert await sent.wait(timeout=60) == "waited"
        assert stopped.failed_count == 1
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.losses, events_of(kept)) == (2, 1, ["lost"])
