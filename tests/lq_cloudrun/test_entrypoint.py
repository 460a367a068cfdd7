"""The entrypoint without a container, on every queue that containers share: its claims and its exit codes."""

import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec.structs import replace as changed

import container_tasks as shop
from cloud import events_of
from lq_cloudrun import CloudRunExecutionConfig, CloudRunExitCode, execute_cloudrun_task
from lq_core import QueueConfig, QueueService, TaskCall, TaskFailure, TaskStatus, task
from lq_core.contracts import a_record
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.records import lifecycle

JOB = "projects/shop/locations/us-central1/jobs/shop"
CLOUD = {"CLOUD_RUN_JOB": "shop", "CLOUD_RUN_EXECUTION": "shop-abcde", "CLOUD_RUN_TASK_INDEX": "0"}
LOG = "shop-abcde/logs?project=shop"


def configured(queue: QueueConfig) -> QueueConfig:
    return replace(queue, execution_backend=CloudRunExecutionConfig("shop", job_name="shop"))


@pytest.fixture
async def service(queue: QueueConfig) -> AsyncGenerator[QueueService]:
    async with QueueService(configured(queue)) as opened:
        yield opened


@pytest.fixture
async def empty() -> AsyncGenerator[QueueService]:
    """An empty queue in memory."""
    config = configured(QueueConfig(queue_backend="memory"))
    async with QueueService(config) as opened:
        yield opened


MEANWHILE: list[Callable[[], Awaitable[None]]] = []


@task(name="entrypoint.overtaken")
async def overtaken() -> int:
    await MEANWHILE.pop()()
    return 3


async def reserved(
    service: QueueService, *, reference: str | None = JOB, call: TaskCall[int] | None = None
) -> dict[str, str]:
    """Enqueue a call, reserve its record, and return the environment of its container."""
    [sent] = await service.enqueue_many([call or shop.add.call(1, second=2)])
    record = lifecycle.dispatch(sent.record, at=service.queue_backend.now())
    record = changed(record, execution_ref=reference)
    assert await service.swap(sent.record, record)
    return {**CLOUD, "LITESTAR_QUEUES_TASK_ID": str(record.id), "LITESTAR_QUEUES_EPOCH": "1"}


async def test_it_runs_a_reserved_record_whose_reference_was_never_stored(service: QueueService) -> None:
    env = await reserved(service, reference=None)

    assert await execute_cloudrun_task(service=service, env=env) is CloudRunExitCode.SUCCESS
    [record] = await service.find()
    assert (record.status, record.result) == (TaskStatus.COMPLETED, "3")


async def test_it_signs_off_at_once_when_its_record_has_ended(
    service: QueueService, caplog: pytest.LogCaptureFixture
) -> None:
    env = await reserved(service)

    await execute_cloudrun_task(service=service, env=env)

    assert await service.workers() == []
    events = [vars(entry).get("event") for entry in caplog.records]
    assert not {"cloudrun.not_closed", "worker.left_running"} & set(events)


async def test_it_runs_a_pending_record_that_a_person_names(service: QueueService) -> None:
    sent = await service.enqueue(shop.add, 1, second=2)

    code = await execute_cloudrun_task(service=service, env={"LITESTAR_QUEUES_TASK_ID": str(sent.id)})

    assert code is CloudRunExitCode.SUCCESS


async def test_a_prefix_of_ones_own_is_found_by_its_pair(service: QueueService) -> None:
    env = await reserved(service)
    mine = {name.replace("LITESTAR_QUEUES", "SHOP"): value for name, value in env.items()}
    plain = replace(service.config, execution_backend="cloudrun")

    assert await execute_cloudrun_task(config=plain, service=service, env=mine) is CloudRunExitCode.SUCCESS


async def test_a_prefix_of_ones_own_is_found_by_what_to_pull(empty: QueueService) -> None:
    plain = replace(empty.config, execution_backend="cloudrun")

    code = await execute_cloudrun_task(config=plain, service=empty, env={"SHOP_PULL": '{"job": 7}'})

    assert code is CloudRunExitCode.INVALID_TASK_ID


async def test_a_second_container_for_the_same_epoch_loses_the_claim(service: QueueService) -> None:
    env = await reserved(service)
    await execute_cloudrun_task(service=service, env=env)

    assert await execute_cloudrun_task(service=service, env=env) is CloudRunExitCode.CLAIM_LOST
    [record] = await service.find()
    assert record.attempt == 1


async def test_the_container_of_an_earlier_epoch_loses_the_claim(service: QueueService) -> None:
    env = await reserved(service)

    code = await execute_cloudrun_task(service=service, env={**env, "LITESTAR_QUEUES_EPOCH": "0"})

    assert code is CloudRunExitCode.CLAIM_LOST
    [record] = await service.find()
    assert record.status is TaskStatus.DISPATCHED


async def test_a_restarted_container_takes_over_the_claim_of_its_dead_process(service: QueueService) -> None:
    env = await reserved(service)
    [record] = await service.find()
    earlier = lifecycle.claim(record, worker_id="the process before", at=service.queue_backend.now())
    assert await service.swap(record, lifecycle.attach(earlier, execution_ref=f"{JOB}/executions/shop-abcde"))

    code = await execute_cloudrun_task(service=service, env={**env, "CLOUD_RUN_TASK_ATTEMPT": "1"})

    assert code is CloudRunExitCode.SUCCESS
    [ended] = await service.find()
    assert (ended.result, ended.attempt, ended.losses, events_of(ended)) == ("3", 2, 1, ["lost"])


async def test_a_container_does_not_take_over_what_another_execution_runs(service: QueueService) -> None:
    env = await reserved(service)
    [record] = await service.find()
    other = lifecycle.claim(record, worker_id="another", at=service.queue_backend.now())
    assert await service.swap(record, lifecycle.attach(other, execution_ref=f"{JOB}/executions/shop-zzzzz"))

    code = await execute_cloudrun_task(service=service, env={**env, "CLOUD_RUN_TASK_ATTEMPT": "1"})

    assert code is CloudRunExitCode.CLAIM_LOST


async def test_a_container_that_is_restarted_after_its_success_ends_well(service: QueueService) -> None:
    env = await reserved(service)
    await execute_cloudrun_task(service=service, env=env)

    code = await execute_cloudrun_task(service=service, env={**env, "CLOUD_RUN_TASK_ATTEMPT": "1"})

    assert code is CloudRunExitCode.SUCCESS


async def test_a_container_that_claims_before_the_reply_stores_its_own_log(service: QueueService) -> None:
    env = await reserved(service)
    [record] = await service.find()
    assert await service.swap(record, changed(record, log_url="https://logs.example/the-execution-before"))

    await execute_cloudrun_task(service=service, env=env)

    [ended] = await service.find()
    assert ended.log_url == f"https://console.cloud.google.com/run/jobs/executions/details/us-central1/{LOG}"


async def test_a_restarted_container_whose_record_another_has_completed_has_lost_its_claim(
    service: QueueService,
) -> None:
    env = await reserved(service)
    await execute_cloudrun_task(service=service, env={**env, "CLOUD_RUN_EXECUTION": "shop-zzzzz"})

    code = await execute_cloudrun_task(service=service, env={**env, "CLOUD_RUN_TASK_ATTEMPT": "1"})

    assert code is CloudRunExitCode.CLAIM_LOST


async def test_a_record_that_was_cancelled_is_not_run(service: QueueService) -> None:
    env = await reserved(service)
    [record] = await service.find()
    assert await service.swap(record, lifecycle.cancel(record, at=service.queue_backend.now()))

    assert await execute_cloudrun_task(service=service, env=env) is CloudRunExitCode.CANCELLED


async def test_a_record_that_waits_for_others_is_not_run_by_its_id(service: QueueService) -> None:
    before = await service.enqueue(shop.add, 1, second=2)
    blocked = await service.enqueue(shop.add.using(after=[before]), 3, second=4)

    code = await execute_cloudrun_task(service=service, env={"LITESTAR_QUEUES_TASK_ID": str(blocked.id)})

    assert code is CloudRunExitCode.CLAIM_LOST
    assert await service.get(blocked.id) == blocked.record


async def test_a_pending_record_of_another_backend_is_left_alone(service: QueueService) -> None:
    sent = await service.enqueue(shop.add.using(execution_backend="local"), 1, second=2)

    code = await execute_cloudrun_task(service=service, env={"LITESTAR_QUEUES_TASK_ID": str(sent.id)})

    assert code is CloudRunExitCode.CLAIM_LOST


async def test_a_record_of_a_task_that_the_image_does_not_know_waits_for_another_image(service: QueueService) -> None:
    record = a_record(task_name="shop.unheard_of", execution_backend="cloudrun")
    await service.queue_backend.insert([record])
    env = {**CLOUD, "LITESTAR_QUEUES_TASK_ID": str(record.id), "LITESTAR_QUEUES_EPOCH": "0"}

    assert await execute_cloudrun_task(service=service, env=env) is CloudRunExitCode.UNKNOWN_TASK
    [waiting] = await service.find()
    assert (waiting.status, waiting.attempt, waiting.losses) == (TaskStatus.PENDING, 0, 0)
    assert waiting.history[-1].failure is not None
    assert "No task is registered as 'shop.unheard_of'" in waiting.history[-1].failure.message


async def test_only_the_first_task_of_an_execution_does_anything(service: QueueService) -> None:
    env = await reserved(service)

    code = await execute_cloudrun_task(service=service, env={**env, "CLOUD_RUN_TASK_INDEX": "1"})

    assert code is CloudRunExitCode.SUCCESS
    [record] = await service.find()
    assert record.status is TaskStatus.DISPATCHED


async def test_a_factory_makes_the_service_and_it_is_closed_again() -> None:
    made: list[QueueService] = []

    async def factory() -> QueueService:
        made.append(QueueService(QueueConfig(), queue_backend=InMemoryQueueBackend()))
        return made[0]

    code = await execute_cloudrun_task(service_factory=factory, env={"LITESTAR_QUEUES_TASK_ID": str(uuid4())})

    assert code is CloudRunExitCode.MISSING_RECORD
    assert "closed" in repr(made[0])


async def test_a_container_whose_record_another_has_ended_has_lost_its_claim(
    service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rescuer took the record for lost while the task ran here, and another container completed it."""
    MEANWHILE.append(lambda: completed_elsewhere(service))
    env = await reserved(service, call=overtaken.call())

    assert await execute_cloudrun_task(service=service, env=env) is CloudRunExitCode.CLAIM_LOST
    [record] = await service.find()
    assert (record.status, record.result) == (TaskStatus.COMPLETED, "7")


async def completed_elsewhere(service: QueueService) -> None:
    [record] = await service.find()
    at = service.queue_backend.now()
    lost = lifecycle.lose(record, failure=TaskFailure(type="WorkerLost", message="silent"), at=at)
    theirs = lifecycle.claim(lost, worker_id="theirs", at=at)
    done = lifecycle.complete(theirs, result="7", at=at)
    for before, after in ((record, lost), (lost, theirs), (theirs, done)):
        assert await service.swap(before, after)


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
