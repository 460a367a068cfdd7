"""One record, one execution: from the enqueue to the result, through Google's own client and real processes."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

import container_tasks as shop
from cloud import cloud, events_of
from lq_core import QueueConfig, TaskFailedError, TaskStatus, Worker


async def test_a_record_is_run_by_one_execution_and_its_result_comes_back(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await sent.wait(timeout=60) == 3
        kept = await sky.record(sent.record)
        assert (kept.status, kept.attempt, kept.execution_ref) == (TaskStatus.COMPLETED, 1, None)
        assert kept.log_url is not None
        assert len(sky.emulator.executions()) == 1


async def test_a_plain_function_gets_its_arguments_with_their_types(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.describe, uuid4(), datetime.now(UTC))

        assert await sent.wait(timeout=60) == "4 UTC"


async def test_the_environment_holds_the_id_and_the_epoch_and_not_the_arguments(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, extra_env={"LEVEL": "7"}) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add, 41415, second=2)
        await sent.wait(timeout=60)
        [name] = sky.emulator.executions()
        env = {each.name: each.value for each in sky.emulator.execution(name).template.containers[0].env}

    assert (env["LITESTAR_QUEUES_TASK_ID"], env["LITESTAR_QUEUES_EPOCH"], env["LEVEL"]) == (str(sent.id), "1", "7")
    assert "41415" not in str(env)


async def test_a_failure_is_retried_after_its_backoff_by_a_second_execution(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.fail_at_first, str(tmp_path / "marker"))

        assert await sent.wait(timeout=60) == "well in the end"
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.retry_count, events_of(kept)) == (2, 1, ["retried"])
        assert len(sky.emulator.executions()) == 2


async def test_a_failure_for_good_is_kept_with_its_reason(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.fail)

        with pytest.raises(TaskFailedError, match="it cannot work"):
            await sent.wait(timeout=60)
        assert len(sky.emulator.executions()) == 1


async def test_a_task_that_puts_itself_off_runs_again_and_its_container_ends_well(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.put_off, str(tmp_path / "marker"))

        assert await sent.wait(timeout=60) == "later"
        ended = [await sky.emulator.wait_until_over(name) for name in sky.emulator.executions()]
        assert [each.succeeded_count for each in ended] == [1, 1]


async def test_the_timeout_of_a_task_fires_inside_the_process_and_is_recorded(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, startup_margin=30) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.run_out_of_time)

        with pytest.raises(TaskFailedError, match=r"longer than its timeout of 0\.2 s"):
            await sent.wait(timeout=60)
        [name] = sky.emulator.executions()
        limit = sky.emulator.execution(name).template.timeout
        assert "0:00:31" in str(limit)


async def test_a_user_may_execute_a_pending_record(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky:
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        backend = await sky.backend()
        dispatched = await backend.execute(sky.service, sent.record, worker_id="ignored")

        assert (dispatched.status, dispatched.execution_ref) == (
            TaskStatus.DISPATCHED,
            sky.emulator.executions()[0],
        )
        assert await sent.wait(timeout=60) == 3
        kept = await sky.record(sent.record)
        assert kept.worker_id is None


async def test_a_profile_chooses_the_job_and_its_container(queue: QueueConfig, address: str) -> None:
    job = {"container": "main", "sidecars": ["proxy"]}
    async with cloud(queue, address, profiles=["large"], job=job, container="main") as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add.using(execution_profile="large"), 1, second=2)

        assert await sent.wait(timeout=60) == 3
        assert len(sky.emulator.executions("large")) == 1
