"""What Cloud Run cannot run goes to the fallback for good, and a worker that has it brings the result."""

from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

import warehouse as shop
from cloud import cloud, events_of, sqlite_address
from lq_core import QueueConfig, TaskStatus, UnknownBackendError, Worker
from lq_core.queue.sqlite import SQLiteConfig


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.mark.parametrize("code", [StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED, StatusCode.INVALID_ARGUMENT])
async def test_a_misconfigured_job_sends_its_record_to_a_local_worker(path: Path, code: StatusCode) -> None:
    queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
    async with cloud(queue, sqlite_address(path), fallback_execution_backend="local") as sky, Worker(sky.service):
        sky.emulator.faults.refuse("RunJob", code)
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await sent.wait(timeout=20) == 3
        kept = await sky.record(sent.record)
        assert (kept.execution_backend, kept.status, events_of(kept)) == ("local", TaskStatus.COMPLETED, ["rerouted"])
        assert sky.emulator.executions() == []


async def test_a_job_that_should_drain_and_cannot_be_run_sends_its_records_to_a_local_worker(path: Path) -> None:
    queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
    settings: dict[str, Any] = {"dispatch": "drain", "fallback_execution_backend": "local", "breaker_pause": 60}
    async with cloud(queue, sqlite_address(path), **settings) as sky, Worker(sky.service):
        sky.emulator.faults.refuse("RunJob", StatusCode.NOT_FOUND, times=100)
        sent = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(3))

        assert [await each.wait(timeout=20) for each in sent] == [1, 2, 3]
        kept = [await sky.record(each.record) for each in sent]
        assert {(each.execution_backend, each.attempt) for each in kept} == {("local", 1)}


async def test_an_unknown_profile_goes_to_the_fallback_with_its_reason(path: Path) -> None:
    queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
    async with cloud(queue, sqlite_address(path), fallback_execution_backend="local") as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add.using(execution_profile="unheard"), 1, second=2)

        assert await sent.wait(timeout=20) == 3
        kept = await sky.record(sent.record)
        assert "no execution profile 'unheard'" in (kept.history[0].message or "")


async def test_what_may_be_running_does_not_go_to_the_fallback(path: Path) -> None:
    queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
    async with cloud(queue, sqlite_address(path), fallback_execution_backend="local") as sky, Worker(sky.service):
        sky.emulator.faults.lose_reply("RunJob")
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await sent.wait(timeout=20) == 3
        assert (await sky.record(sent.record)).execution_backend == "cloudrun"


async def test_a_worker_refuses_to_start_without_the_fallback_and_names_its_package(path: Path) -> None:
    queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
    async with cloud(queue, sqlite_address(path), fallback_execution_backend="locally") as sky:
        with pytest.raises(UnknownBackendError, match="Did you mean 'local'"):
            await Worker(sky.service).run()
