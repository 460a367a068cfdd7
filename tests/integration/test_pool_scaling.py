"""A worker pool follows the demand of the queue: out at once, in after a while, to zero and back."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

import container_tasks as shop
from cloud import sqlite_address
from cloud.emulated import SUPPORT
from lq_cloudrun.cli import main
from lq_cloudrun.emulator import EmulatedPool, Emulator, EmulatorThread, connected
from lq_cloudrun.pools.scaler import PoolScaler, PoolScaling
from lq_core import ConfigurationError, QueueConfig, QueueService

POOL: Final[dict[str, Any]] = {"pool": "projects/p/locations/l/workerPools/w"}


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The queue that the service and the instances share."""
    where = sqlite_address(tmp_path / "shop.db")
    monkeypatch.setenv("SHOP_QUEUE", where)
    return where


@pytest.fixture
def queue(address: str) -> QueueConfig:
    return shop.queue_config()


@asynccontextmanager
async def a_pool(
    queue: QueueConfig, address: str, *, instances: int = 0, **settings: Any
) -> AsyncGenerator[tuple[Emulator, QueueService, PoolScaler]]:
    """Emulate a pool of workers that run one record at a time, and make its scaler."""
    worker = [sys.executable, "-m", "lq_core", "worker", "container_tasks:queue_config", "--module", "container_tasks"]
    env = {"PYTHONPATH": str(SUPPORT), "SHOP_QUEUE": address}
    pool = EmulatedPool(name="workers", command=worker, env=env, instances=instances)
    async with (
        Emulator([], pools=[pool]) as emulator,
        connected(emulator.address) as clients,
        QueueService(replace(queue, execution_backend="local")) as service,
    ):
        options: dict[str, Any] = {"concurrency": 1, "max_instances": 3, "scale_in_after": 0, **settings}
        scaling = PoolScaling(pool=emulator.pool_name("workers"), **options)
        client: Any = clients.pools
        yield emulator, service, PoolScaler(service, scaling, client)


async def changes(scaler: PoolScaler) -> tuple[int, int]:
    step = await scaler.step()
    return step.before, step.after


async def test_a_pool_at_zero_comes_up_for_due_records_and_runs_them(queue: QueueConfig, address: str) -> None:
    async with a_pool(queue, address) as (_, service, scaler):
        idle = await changes(scaler)
        sent = await service.enqueue(shop.add, 1, second=2)

        assert (idle, await changes(scaler)) == ((0, 0), (0, 1))
        assert await sent.wait(timeout=60) == 3


async def test_a_pool_without_work_goes_to_zero(queue: QueueConfig, address: str) -> None:
    async with a_pool(queue, address, instances=2) as (emulator, _, scaler):
        assert await changes(scaler) == (2, 0)
        await emulator.wait_until(lambda: emulator.pool_instances("workers") == 0)


async def test_instances_are_taken_away_only_some_time_after_the_last_change(queue: QueueConfig, address: str) -> None:
    async with a_pool(queue, address, instances=2, scale_in_after=300) as (_, _, scaler):
        step = await scaler.step()

        assert (step.before, step.after) == (2, 2)
        assert 250 < step.waits <= 300


async def test_more_instances_are_started_whenever_the_last_change_was(queue: QueueConfig, address: str) -> None:
    async with a_pool(queue, address, scale_in_after=300) as (_, service, scaler):
        await service.enqueue(shop.add, 1, second=2)

        assert await changes(scaler) == (0, 1)


async def test_the_bounds_hold(queue: QueueConfig, address: str) -> None:
    async with a_pool(queue, address, min_instances=1, max_instances=2, target_wait=0.001) as (_, service, scaler):
        at_rest = await changes(scaler)
        await service.enqueue_many(shop.hang.using(queue="elsewhere").call() for _ in range(50))

        assert (at_rest, await changes(scaler)) == ((0, 1), (1, 2))


async def test_records_of_other_queues_ask_for_no_instances(queue: QueueConfig, address: str) -> None:
    async with a_pool(queue, address, queues=("mail",)) as (_, service, scaler):
        await service.enqueue(shop.add, 1, second=2)

        assert await changes(scaler) == (0, 0)


async def test_two_scalers_do_not_undo_each_others_changes(queue: QueueConfig, address: str) -> None:
    async with a_pool(queue, address) as (emulator, service, scaler):
        await service.enqueue(shop.hang.using(queue="elsewhere"))
        with emulator.faults.hold("UpdateWorkerPool") as held:
            first = asyncio.create_task(changes(scaler))
            await emulator.wait_until(lambda: emulator.calls("UpdateWorkerPool") == 1)
            second = await changes(scaler)
            held.release()

            assert (second, await first) == ((0, 1), (0, 0))
        assert emulator.pool("workers").scaling.manual_instance_count == 1


def test_the_command_scales_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pool = EmulatedPool(name="workers", command=["sleep", "600"])
    with EmulatorThread(Emulator([], pools=[pool])) as thread:
        (tmp_path / "scaled.py").write_text(
            "from lq_cloudrun import CloudRunExecutionConfig\n"
            "from lq_core import QueueConfig\n"
            f"cloud = CloudRunExecutionConfig('emulated', job_name='tasks', endpoint='{thread.emulator.address}')\n"
            "config = QueueConfig(execution_backends=(cloud,))\n"
        )
        words = ["scale", "scaled:config", "--pool", "workers", "--min-instances", "2", "--once"]
        result = CliRunner().invoke(main, words)

        assert "Instances: 0 -> 2" in result.output
        assert thread.emulator.pool("workers").scaling.manual_instance_count == 2

        words[3] = "wrokers"
        result = CliRunner().invoke(main, words)

        assert result.exit_code == 1
        assert "There is no worker pool 'projects/emulated/locations/us-central1/workerPools/wrokers'" in result.output
        assert "--instances 1` prints the commands that create a pool" in result.output.replace("\n", " ")


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"pool": "workers"}, "the full name of a worker pool"),
        ({"min_instances": 5, "max_instances": 2}, "min_instances is 5 and max_instances 2"),
        ({"target_wait": 0}, "target_wait is 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        PoolScaling(**(POOL | settings))
