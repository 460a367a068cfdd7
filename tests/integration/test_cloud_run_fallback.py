"""What Cloud Run cannot run goes to the fallback for good, and a worker that has it brings the result."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

import container_tasks as shop
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
        sky.emulator.faults.refuse("RunJob", code, times=2)
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await sent.wait(timeout=20) == 3
        kept = await sky.record(sent.record)
        assert (kept.execution_backend, kept.status) == ("local", TaskStatus.COMPLETED)
        assert events_of(kept) == ["released", "rerouted"]
        assert sky.emulator.executions() == []


@pytest.mark.parametrize("code", [StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED])
async def test_a_job_that_is_refused_once_has_a_second_look_before_anything_is_for_good(
    path: Path, code: StatusCode
) -> None:
    queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
    async with cloud(queue, sqlite_address(path), fallback_execution_backend="local") as sky, Worker(sky.service):
        sky.emulator.faults.refuse("RunJob", code)
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await sent.wait(timeout=20) == 3
        kept = await sky.record(sent.record)
        assert (kept.execution_backend, events_of(kept)) == ("cloudrun", ["released"])
        assert "if it is refused again, another backend gets the record" in str(kept.history)


async def test_refusals_that_arrive_together_are_one_look(path: Path) -> None:
    queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
    settings: dict[str, Any] = {"fallback_execution_backend": "local", "breaker_pause": 60}
    async with cloud(queue, sqlite_address(path), **settings) as sky:
        sky.emulator.faults.refuse("RunJob", StatusCode.NOT_FOUND, times=5)
        backend = await sky.backend()
        sent = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(5))
        kept = await asyncio.gather(*(backend.execute(sky.service, each.record) for each in sent))

        assert {(each.execution_backend, *events_of(each)) for each in kept} == {("cloudrun", "released")}


async def test_a_record_that_names_a_profile_falls_back_only_if_the_configuration_says_so(path: Path) -> None:
    queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
    settings: dict[str, Any] = {"fallback_execution_backend": "local", "profiles": ["large"]}
    async with cloud(queue, sqlite_address(path), **settings) as sky, Worker(sky.service):
        sky.emulator.faults.refuse("RunJob", StatusCode.NOT_FOUND, times=4)
        large = await sky.service.enqueue(shop.add.using(execution_profile="large"), 1, second=2)

        assert await large.wait(timeout=20) == 3
        kept = await sky.record(large.record)
        assert (kept.execution_backend, events_of(kept)) == ("cloudrun", ["released"] * 4)
    async with cloud(queue, sqlite_address(path), **settings, profiles_fall_back=True) as sky, Worker(sky.service):
        sky.emulator.faults.refuse("RunJob", StatusCode.NOT_FOUND, times=2)
        large = await sky.service.enqueue(shop.add.using(execution_profile="large"), 1, second=2)

        assert await large.wait(timeout=20) == 3
        assert (await sky.record(large.record)).execution_backend == "local"


async def test_a_job_that_should_drain_and_cannot_be_run_sends_its_records_to_a_local_worker(path: Path) -> None:
    queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
    settings: dict[str, Any] = {"dispatch": "pull", "fallback_execution_backend": "local", "breaker_pause": 1}
    async with cloud(queue, sqlite_address(path), **settings) as sky, Worker(sky.service):
        sky.emulator.faults.refuse("RunJob", StatusCode.NOT_FOUND, times=100)
        sent = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(3))

        assert [await each.wait(timeout=20) for each in sent] == [1, 2, 3]
        kept = [await sky.record(each.record) for each in sent]
        assert {(each.execution_backend, each.attempt) for each in kept} == {("local", 1)}


async def test_a_misspelt_profile_waits_and_the_doctor_finds_it(path: Path) -> None:
    queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
    settings: dict[str, Any] = {"fallback_execution_backend": "local", "profiles": ["large"]}
    async with cloud(queue, sqlite_address(path), **settings) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add.using(execution_profile="lagre"), 1, second=2)
        kept = await sky.until(sent.record, lambda record: bool(record.history))
        findings = await (await sky.backend()).diagnose(sky.service)

        assert (kept.status, kept.execution_backend, events_of(kept)) == (TaskStatus.PENDING, "cloudrun", ["released"])
        assert "no execution profile 'lagre'" in (kept.history[0].message or "")
        [waiting] = [each for each in findings if each.check == "Cloud Run profiles"]
        assert (waiting.level, waiting.found) == ("warning", "1 record waits for the profile 'lagre'")
        assert "Did you mean 'large'?" in str(waiting.advice)


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
