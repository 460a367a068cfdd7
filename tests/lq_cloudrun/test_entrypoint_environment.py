"""What the entrypoint reads from its environment, and what it says and returns if that cannot be used."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

import container_tasks as shop
from lq_cloudrun import CloudRunExitCode, execute_cloudrun_task
from lq_core import QueueConfig, QueueService
from lq_core.queue.memory import InMemoryQueueBackend
from reservations import configured, reserved


@pytest.fixture
async def empty() -> AsyncGenerator[QueueService]:
    """An empty queue in memory."""
    config = configured(QueueConfig(queue_backend="memory"))
    async with QueueService(config) as opened:
        yield opened


async def test_a_prefix_of_ones_own_is_found_by_its_pair(service: QueueService) -> None:
    env = await reserved(service)
    mine = {name.replace("LITESTAR_QUEUES", "SHOP"): value for name, value in env.items()}
    plain = replace(service.config, execution_backend="cloudrun")

    assert await execute_cloudrun_task(config=plain, service=service, env=mine) is CloudRunExitCode.SUCCESS


async def test_a_prefix_of_ones_own_is_found_by_what_to_pull(empty: QueueService) -> None:
    plain = replace(empty.config, execution_backend="cloudrun")

    code = await execute_cloudrun_task(config=plain, service=empty, env={"SHOP_PULL": '{"job": 7}'})

    assert code is CloudRunExitCode.INVALID_TASK_ID


async def test_a_factory_makes_the_service_and_it_is_closed_again() -> None:
    made: list[QueueService] = []

    async def factory() -> QueueService:
        made.append(QueueService(QueueConfig(), queue_backend=InMemoryQueueBackend()))
        return made[0]

    code = await execute_cloudrun_task(service_factory=factory, env={"LITESTAR_QUEUES_TASK_ID": str(uuid4())})

    assert code is CloudRunExitCode.MISSING_RECORD
    assert "closed" in repr(made[0])


@pytest.mark.parametrize(
    "env, code",
    [
        ({}, CloudRunExitCode.MISSING_TASK_ID),
        ({"LITESTAR_QUEUES_TASK_ID": " "}, CloudRunExitCode.MISSING_TASK_ID),
        ({"LITESTAR_QUEUES_TASK_ID": "seven"}, CloudRunExitCode.INVALID_TASK_ID),
        ({"LITESTAR_QUEUES_TASK_ID": str(uuid4()), "LITESTAR_QUEUES_EPOCH": "x"}, CloudRunExitCode.INVALID_TASK_ID),
        ({"LITESTAR_QUEUES_TASK_ID": str(uuid4())}, CloudRunExitCode.MISSING_RECORD),
        ({"LITESTAR_QUEUES_PULL": "all"}, CloudRunExitCode.INVALID_TASK_ID),
        ({"LITESTAR_QUEUES_TASK_ID": str(uuid4()), "LITESTAR_QUEUES_EXIT_POLICY": "x"}, CloudRunExitCode.FAILURE),
        ({"LITESTAR_QUEUES_TASK_ID": str(uuid4()), "LITESTAR_QUEUES_TASK_MODULES": "x.y"}, CloudRunExitCode.FAILURE),
    ],
)
async def test_a_bad_environment_has_its_exit_code(
    empty: QueueService, env: dict[str, str], code: CloudRunExitCode
) -> None:
    assert await execute_cloudrun_task(service=empty, env=env) is code


@pytest.mark.parametrize(
    "settings, advice",
    [
        ({}, "does not know its queue: set LITESTAR_QUEUES_CONFIG"),
        ({"LITESTAR_QUEUES_CONFIG": "container_tasks"}, "write it as module:attribute"),
        (
            {"LITESTAR_QUEUES_CONFIG": "cloud.nowhere:config"},
            "but there is no module 'cloud.nowhere'. lq looked in",
        ),
        ({"LITESTAR_QUEUES_CONFIG": "container_tasks:unknown"}, "but the module container_tasks has no 'unknown'"),
        ({"LITESTAR_QUEUES_CONFIG": "container_tasks:say"}, "neither a QueueConfig nor a QueueService"),
        ({"LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:AT_ONCE"}, "and not a function"),
        (
            {"LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:queue_config"},
            "Calling container_tasks:queue_config, as LITESTAR_",
        ),
        (
            {"LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:later_queue_config"},
            "See the whole traceback with: python -c",
        ),
        ({"LITESTAR_QUEUES_CONFIG": "container_tasks:IN_MEMORY"}, "keeps its records in the memory of one process"),
        (
            {"LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:say"},
            "Calling container_tasks:say, as LITESTAR_QUEUES_CONFIG_FAC",
        ),
    ],
)
async def test_a_configuration_that_cannot_be_used_is_an_error_that_says_what_to_set(
    settings: dict[str, str], advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    code = await execute_cloudrun_task(env={"LITESTAR_QUEUES_TASK_ID": str(uuid4()), **settings})

    assert code is CloudRunExitCode.FAILURE
    assert ".." not in caplog.text
    assert advice in str([vars(each).get("reason") for each in caplog.records])


async def test_an_awaited_factory_in_the_environment_makes_the_configuration(address: str) -> None:
    env = {
        "LITESTAR_QUEUES_TASK_ID": str(uuid4()),
        "LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:later_queue_config",
    }
    async with QueueService(shop.queue_config()):
        pass  # The queue is there.

    assert await execute_cloudrun_task(env=env) is CloudRunExitCode.MISSING_RECORD


@pytest.mark.parametrize("path", ["container_tasks:later_queue_config", "container_tasks:queue_config"])
async def test_the_variable_of_the_commands_names_the_configuration_as_well(address: str, path: str) -> None:
    async with QueueService(shop.queue_config()):
        pass  # The queue is there.

    env = {"LITESTAR_QUEUES_TASK_ID": str(uuid4()), "LQ_CONFIG": path}

    assert await execute_cloudrun_task(env=env) is CloudRunExitCode.MISSING_RECORD


async def test_a_database_that_cannot_be_reached_is_tried_for_a_while_and_then_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    env = {
        "LITESTAR_QUEUES_TASK_ID": str(uuid4()),
        "LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:queue_out_of_reach",
        "LITESTAR_QUEUES_CONNECT_SECONDS": "0.05",
    }

    assert await execute_cloudrun_task(env=env) is CloudRunExitCode.FAILURE
    assert [vars(each)["event"] for each in caplog.records][-2:] == ["cloudrun.connecting", "cloudrun.refused"]


def test_the_entrypoint_imports_nothing_of_google_or_the_terminal_or_a_framework() -> None:
    program = (
        "import sys, lq_cloudrun.entrypoint; "
        "print(sorted({'google', 'grpc', 'litestar', 'click', 'rich'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_the_entrypoint_can_be_run_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "lq_cloudrun.entrypoint"],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == CloudRunExitCode.MISSING_TASK_ID


def test_main_ends_with_the_code_and_one_line_that_says_why() -> None:
    result = subprocess.run([sys.executable, "-m", "lq_cloudrun"], env={}, capture_output=True, text=True, check=False)

    assert result.returncode == CloudRunExitCode.MISSING_TASK_ID
    assert result.stderr.count("\n") == 1
    assert "LITESTAR_QUEUES_TASK_ID is not set" in result.stderr


async def test_numbers_of_others_do_not_hide_a_prefix_of_our_own(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with QueueService(shop.queue_config()) as service:
        sent = await service.enqueue(shop.add.using(execution_backend="cloudrun"), 1, second=2)
        theirs = {"TRAIN_TASK_ID": "7", "TRAIN_EPOCH": "3"}
        ours = {"SHOP_TASK_ID": str(sent.id), "SHOP_EPOCH": "0"}
        factory = {"SHOP_CONFIG_FACTORY": "container_tasks:queue_config"}

        refused = await execute_cloudrun_task(env={**theirs, **ours})
        assert await execute_cloudrun_task(env={**theirs, **ours, **factory}) is not CloudRunExitCode.MISSING_TASK_ID

    assert refused is CloudRunExitCode.INVALID_TASK_ID
    assert "SHOP_TASK_ID, TRAIN_TASK_ID" in caplog.text
