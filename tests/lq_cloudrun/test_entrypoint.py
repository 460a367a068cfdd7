"""The entrypoint without a container, on every queue that containers share: what it claims, and its exit codes."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace as changed

import container_tasks as shop
from cloud import events_of
from lq_cloudrun import CloudRunExitCode, execute_cloudrun_task
from lq_core import QueueService, TaskFailure, TaskStatus, task
from lq_core.contracts import a_record
from lq_core.records import lifecycle
from reservations import CLOUD, JOB, reserved

LOG = "shop-abcde/logs?project=shop"
MEANWHILE: list[Callable[[], Awaitable[None]]] = []


@task(name="entrypoint.overtaken")
async def overtaken() -> int:
    await MEANWHILE.pop()()
    return 3


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
