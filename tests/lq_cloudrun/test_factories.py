"""What a factory may make for the entrypoint, and how it may be named."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import container_tasks as shop
from lq_cloudrun import CloudRunExitCode, execute_cloudrun_task
from lq_core import QueueConfig, QueueService, RoutedQueueService


@pytest.fixture
async def env(address: str) -> dict[str, str]:
    """The environment of a container for a pending record that a person names."""
    async with QueueService(shop.queue_config()) as service:
        sent = await service.enqueue(shop.add.using(execution_backend="cloudrun"), 1, second=2)
    return {"LITESTAR_QUEUES_TASK_ID": str(sent.id)}


@asynccontextmanager
async def managed_config() -> AsyncGenerator[QueueConfig]:
    yield shop.queue_config()


def broken_factory() -> QueueConfig:
    raise RuntimeError("no secret")


@pytest.mark.parametrize("factory", [shop.queue_config, shop.later_queue_config, managed_config])
async def test_a_factory_may_make_a_configuration_and_a_context_manager(env: dict[str, str], factory: Any) -> None:
    assert await execute_cloudrun_task(service_factory=factory, env=env) is CloudRunExitCode.SUCCESS


async def test_a_factory_may_be_named_with_a_dot(env: dict[str, str]) -> None:
    code = await execute_cloudrun_task(env={**env, "LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks.queue_config"})

    assert code is CloudRunExitCode.SUCCESS


async def test_a_factory_that_raises_has_an_exit_code(caplog: pytest.LogCaptureFixture) -> None:
    env = {"LITESTAR_QUEUES_TASK_ID": str(uuid4())}

    assert await execute_cloudrun_task(service_factory=broken_factory, env=env) is CloudRunExitCode.FAILURE
    assert "no secret" in caplog.text


async def test_a_configuration_that_ends_the_process_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hasty.py").write_text("raise SystemExit(0)\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    env = {"LITESTAR_QUEUES_TASK_ID": str(uuid4()), "LITESTAR_QUEUES_CONFIG": "hasty:config"}

    assert await execute_cloudrun_task(env=env) is CloudRunExitCode.FAILURE
    assert "SystemExit: 0" in caplog.text


async def test_a_factory_that_makes_no_service_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    factory: Any = dict

    code = await execute_cloudrun_task(service_factory=factory, env={"LITESTAR_QUEUES_TASK_ID": str(uuid4())})

    assert code is CloudRunExitCode.FAILURE
    assert "neither a QueueConfig nor a QueueService" in caplog.text


async def test_a_container_works_for_one_store(env: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    config = replace(shop.queue_config(), stores={"bulk": "memory"})

    assert await execute_cloudrun_task(config=config, env=env) is CloudRunExitCode.FAILURE
    routed = RoutedQueueService(config)
    assert await execute_cloudrun_task(service=routed, env=env) is CloudRunExitCode.FAILURE
    assert caplog.text.count("This needs one store") == 2
    assert "This needs one store, and the configuration has several: main, bulk" in caplog.text
    assert await execute_cloudrun_task(config=config.of_store("main"), env=env) is CloudRunExitCode.SUCCESS
