"""Pull mode: few executions run many records, and no record is lost if one of them ends early."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from grpc import StatusCode

import container_tasks as shop
from cloud import Cloud, cloud, events_of
from lq_cloudrun import CloudRunExecutionBackend, CloudRunExecutionConfig
from lq_core import QueueConfig, QueueService, TaskFailedError, TaskResult, TaskStatus, Worker
from programs import until

ONE_AT_A_TIME: Final[dict[str, Any]] = {"dispatch": "pull", "max_in_flight": 1}


async def kept(sky: Cloud, *sent: TaskResult[Any]) -> list[tuple[TaskStatus, int, int]]:
    """Return the stored status, attempts and losses of records."""
    records = [await sky.record(each.record) for each in sent]
    return [(record.status, record.attempt, record.losses) for record in records]


async def look(sky: Cloud) -> None:
    """Look for work as a worker does, once."""
    backend = await sky.backend()
    assert await backend.capacity(sky.service) == 0


async def test_one_execution_of_several_containers_runs_many_records(queue: QueueConfig, address: str) -> None:
    settings: dict[str, Any] = {"max_in_flight": 2, "pull_concurrency": 5, "extra_env": {"LEVEL": "7"}}
    async with cloud(queue, address, dispatch="pull", **settings) as sky:
        sent = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(60))
        async with Worker(sky.service):
            results = [await each.wait(timeout=60) for each in sent]
            [name] = sky.emulator.executions()
            ended = await sky.emulator.wait_until_over(name)

        assert results == [number + 1 for number in range(60)]
        assert set(await kept(sky, *sent)) == {(TaskStatus.COMPLETED, 1, 0)}
        assert (ended.task_count, ended.succeeded_count) == (2, 2)
        env = {each.name for each in ended.template.containers[0].env}
        assert {"LITESTAR_QUEUES_PULL", "LEVEL"} < env
        assert not {"LITESTAR_QUEUES_TASK_ID", "LITESTAR_QUEUES_EPOCH"} & env
        assert name.rpartition("/")[2] in str((await sky.record(sent[0].record)).log_url)


async def test_no_more_containers_are_started_than_there_is_work_for(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, dispatch="pull", pull_concurrency=2) as sky:
        with sky.emulator.faults.hold_starts("shop"):
            await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(5))
            await sky.service.enqueue(shop.add.using(delay=3600), 1, second=2)
            paused = shop.add.using(queue="paused")
            await sky.service.enqueue_many(paused.call(number, second=1) for number in range(3))
            await sky.service.pause("paused")
            await look(sky)
            [name] = sky.emulator.executions()

            assert sky.emulator.execution(name).task_count == 3


async def test_containers_that_have_left_are_replaced_while_others_of_their_execution_work_on(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    async with cloud(queue, address, dispatch="pull", max_in_flight=2) as sky:
        slow = await sky.service.enqueue(shop.wait_for, str(tmp_path / "marker"))
        await sky.service.enqueue(shop.add, 1, second=2)
        async with Worker(sky.service):
            await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
            [name] = sky.emulator.executions()
            await sky.emulator.wait_until(lambda: sky.emulator.execution(name).succeeded_count == 1)
            late = await sky.service.enqueue(shop.add, 1, second=2)

            assert await late.wait(timeout=60) == 3
            (tmp_path / "marker").touch()
            assert await slow.wait(timeout=60) == "waited"
        assert len(sky.emulator.executions()) == 2


async def test_when_nothing_is_due_no_execution_is_started_and_cloud_run_is_not_called(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, dispatch="pull") as sky:
        await sky.service.enqueue(shop.add.using(delay=3600), 1, second=2)
        await sky.service.enqueue(shop.add.using(queue="paused"), 1, second=2)
        await sky.service.pause("paused")
        await look(sky)

        assert sky.emulator.executions() == []
        assert sky.emulator.calls("ListExecutions") == 0


async def test_containers_take_from_the_queues_of_the_worker_that_started_them(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(replace(queue, queues=("mail",)), address, **ONE_AT_A_TIME) as sky, Worker(sky.service):
        other = await sky.service.enqueue(shop.add, 1, second=2)
        mail = await sky.service.enqueue(shop.add.using(queue="mail"), 1, second=2)
        await mail.wait(timeout=60)
        [name] = sky.emulator.executions()
        await sky.emulator.wait_until_over(name)

        assert await kept(sky, other) == [(TaskStatus.PENDING, 0, 0)]


async def test_containers_go_on_when_the_dispatcher_is_gone(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, **ONE_AT_A_TIME) as sky:
        sent = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(3))
        await look(sky)

        assert [await each.wait(timeout=60) for each in sent] == [1, 2, 3]


async def test_a_container_that_is_killed_in_the_middle_leaves_its_records_to_another_execution(
    queue: QueueConfig, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HEARTBEAT", "0.2")
    async with cloud(shop.queue_config(), address, env={"SHOP_HEARTBEAT": "0.2"}, **ONE_AT_A_TIME) as sky:
        before = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(3))
        deadly = await sky.service.enqueue(shop.die_at_first, str(tmp_path / "marker"))
        after = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(3))
        async with Worker(sky.service):
            assert await deadly.wait(timeout=60) == "alive"
            results = [await each.wait(timeout=60) for each in (*before, *after)]

        assert results == [1, 2, 3] * 2
        assert set(await kept(sky, *before, *after)) == {(TaskStatus.COMPLETED, 1, 0)}
        assert await kept(sky, deadly) == [(TaskStatus.COMPLETED, 2, 1)]
        # One for the remaining records, and one more if they ended before the dead container was noticed.
        assert len(sky.emulator.executions()) <= 3


async def test_when_the_time_of_a_container_is_up_another_execution_takes_over(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, pull_time=1, **ONE_AT_A_TIME) as sky:
        sent = await sky.service.enqueue_many(shop.take.call(0.4) for _ in range(4))
        async with Worker(sky.service):
            [await each.wait(timeout=60) for each in sent]
            ended = [await sky.emulator.wait_until_over(name) for name in sky.emulator.executions()]

        assert set(await kept(sky, *sent)) == {(TaskStatus.COMPLETED, 1, 0)}
        assert len(ended) > 1
        assert {each.succeeded_count for each in ended} == {1}


async def test_what_does_not_end_in_the_time_of_its_container_is_interrupted_and_fails_in_the_end(
    queue: QueueConfig, address: str
) -> None:
    # If a container on a busy machine does not find its record before its time is up, the next one does.
    settings: dict[str, Any] = {"pull_time": 6, "timeout": 1, "max_interruptions": 1}
    async with cloud(queue, address, **ONE_AT_A_TIME, **settings) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.hang)

        with pytest.raises(TaskFailedError, match="max_interruptions=1"):
            await sent.wait(timeout=150)
        record = await sky.record(sent.record)
        assert (events_of(record)[0], record.attempt) == ("interrupted", 2)


async def test_a_running_record_is_cancelled_and_its_container_goes_on_with_the_next(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, **ONE_AT_A_TIME) as sky, Worker(sky.service):
        stuck = await sky.service.enqueue(shop.hang)
        behind = await sky.service.enqueue(shop.add, 1, second=2)
        await sky.until(stuck.record, lambda record: record.status is TaskStatus.RUNNING)
        await sky.service.cancel(stuck.id)

        assert await behind.wait(timeout=60) == 3
        assert await kept(sky, stuck) == [(TaskStatus.CANCELLED, 1, 0)]
        assert len(sky.emulator.executions()) == 1
        assert sky.emulator.calls("CancelExecution") == 0


async def test_sigterm_interrupts_what_runs_and_another_execution_takes_it(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    async with cloud(queue, address, breaker_pause=60, **ONE_AT_A_TIME) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.wait_for, str(tmp_path / "marker"))
        behind = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(110))
        await sky.until(sent.record, lambda record: record.status is TaskStatus.RUNNING)
        [first] = sky.emulator.executions()
        backend = await sky.backend()
        assert backend.executions_client is not None
        await backend.executions_client.cancel_execution(name=first, timeout=5)
        await sky.emulator.wait_until_over(first)
        (tmp_path / "marker").touch()

        assert await sent.wait(timeout=60) == "waited"
        assert await behind[-1].wait(timeout=60) == 110
        record = await sky.record(sent.record)
        assert (events_of(record), record.retry_count, record.losses) == (["interrupted"], 0, 0)
        assert len(sky.emulator.executions()) == 2


async def test_a_record_that_names_a_profile_fails_with_advice(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, **ONE_AT_A_TIME) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add.using(execution_profile="large"), 1, second=2)

        with pytest.raises(TaskFailedError, match="put the task into a queue of its own"):
            await sent.wait(timeout=60)


async def test_after_an_execution_that_did_nothing_the_next_one_waits(
    queue: QueueConfig, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloud(queue, address, job={"command": ["true"]}, breaker_pause=60, **ONE_AT_A_TIME) as sky:
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        await look(sky)
        [name] = sky.emulator.executions()
        await sky.emulator.wait_until_over(name)

        async def is_noticed() -> bool:
            await look(sky)
            return "cloudrun.pulled_nothing" in caplog.text

        await until(is_noticed, what="the execution is noticed to have done nothing")
        assert await kept(sky, sent) == [(TaskStatus.PENDING, 0, 0)]
        assert sky.emulator.executions() == [name]


async def test_the_pace_holds_for_executions_that_pull(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, dispatch="pull", pull_tasks=1, runs_per_minute=1) as sky:
        with sky.emulator.faults.hold_starts("shop"):
            await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(5))
            async with Worker(sky.service):
                await sky.emulator.wait_until(lambda: sky.emulator.calls("GetExecution") > 3)

            assert len(sky.emulator.executions()) == 1


async def test_the_executions_of_another_dispatcher_count(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, **ONE_AT_A_TIME) as sky, QueueService(sky.service.config) as other:
        with sky.emulator.faults.hold_starts("shop"):
            await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(5))
            await look(sky)
            second = await other.execution_backend("cloudrun")
            assert isinstance(second, CloudRunExecutionBackend)
            assert await second.capacity(other) == 0

            assert len(sky.emulator.executions()) == 1


async def test_workers_that_pull_different_queues_do_not_count_each_others_work(
    queue: QueueConfig, address: str, tmp_path: Path
) -> None:
    async with (
        cloud(replace(queue, queues=("small",)), address, dispatch="pull", max_in_flight=2) as sky,
        QueueService(replace(sky.service.config, queues=("large",))) as other,
        Worker(sky.service),
        Worker(other),
    ):
        waiting = shop.wait_for.using(queue="large")
        large = [await other.enqueue(waiting, str(tmp_path / "marker")) for _ in range(2)]
        for each in large:
            await sky.until(each.record, lambda record: record.status is TaskStatus.RUNNING)
        small = await sky.service.enqueue(shop.add.using(queue="small"), 1, second=2)

        assert await small.wait(timeout=60) == 3
        (tmp_path / "marker").touch()
        assert [await each.wait(timeout=60) for each in large] == ["waited"] * 2


async def test_what_runs_in_other_queues_asks_for_no_containers(queue: QueueConfig, address: str) -> None:
    async with cloud(replace(queue, queues=("small",)), address, dispatch="pull") as sky:
        with sky.emulator.faults.hold_starts("shop"):
            other = await sky.service.enqueue(shop.hang.using(queue="large"))
            await sky.service.queue_backend.claim_one(other.id, other.record.epoch, worker_id="elsewhere")
            await sky.service.enqueue(shop.add.using(queue="small"), 1, second=2)
            await look(sky)
            [name] = sky.emulator.executions()

            assert sky.emulator.execution(name).task_count == 1


async def test_an_execution_whose_reply_was_lost_counts(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, **ONE_AT_A_TIME) as sky:
        with sky.emulator.faults.hold_starts("shop") as hold:
            sky.emulator.faults.lose_reply("RunJob")
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            async with Worker(sky.service):
                await sky.emulator.wait_until(lambda: sky.emulator.calls("GetExecution") > 1)
                hold.release()

                assert await sent.wait(timeout=60) == 3
        assert len(sky.emulator.executions()) == 1


async def test_after_a_lost_reply_the_list_gets_its_time(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, confirm_after=60, poll_interval=1e-6, **ONE_AT_A_TIME) as sky:
        with sky.emulator.faults.hold_starts("shop"), sky.emulator.faults.freeze_list():
            sky.emulator.faults.lose_reply("RunJob")
            await sky.service.enqueue(shop.add, 1, second=2)
            await look(sky)
            await look(sky)

            assert len(sky.emulator.executions()) == 1


async def test_a_429_slows_the_pace(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, poll_interval=1e-6, **ONE_AT_A_TIME, runs_per_minute=60) as sky:
        sky.emulator.faults.refuse("RunJob", StatusCode.RESOURCE_EXHAUSTED)
        await sky.service.enqueue(shop.add, 1, second=2)
        await look(sky)
        await look(sky)

        assert (sky.emulator.calls("RunJob"), sky.emulator.executions()) == (1, [])


async def test_a_record_that_runs_in_no_execution_of_its_own_is_left_to_its_container(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, rpc_timeout=1e-6, **ONE_AT_A_TIME) as sky:
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        running = await sky.service.queue_backend.claim_one(sent.id, sent.record.epoch, worker_id="unheard of")
        backend = await sky.backend()

        assert await backend.reconcile(sky.service, running) is None
        assert await backend.reconcile_many(sky.service, [running]) == []
        assert await backend.cancel(sky.service, running) is False
        assert sky.emulator.calls("ListExecutions") == 0


async def test_what_was_dispatched_one_by_one_is_still_looked_after(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, job={"command": ["true"]}) as sky:
        each = replace(sky.config, dispatch="each")
        sent = await sky.service.enqueue(shop.add.using(backoff=shop.AT_ONCE), 1, second=2)
        backend = await sky.backend()
        await backend.execute(sky.service, sent.record)
        pulling: CloudRunExecutionConfig = replace(each, dispatch="pull", breaker_pause=60)
        async with QueueService(replace(queue, execution_backend=pulling)) as other, Worker(other):

            async def is_released() -> bool:
                return await kept(sky, sent) == [(TaskStatus.PENDING, 0, 1)]

            await until(is_released, what="the lost dispatch is noticed")


async def test_what_names_the_backend_by_its_path_is_pulled_as_well(queue: QueueConfig, address: str) -> None:
    path = "lq_cloudrun.backend:CloudRunExecutionBackend"
    async with cloud(queue, address, dispatch="pull") as sky:
        config = replace(sky.service.config, execution_backends=(path,))
        async with QueueService(config) as service, Worker(service):
            sent = await service.enqueue(shop.add.using(execution_backend=path), 1, second=2)

            assert await sent.wait(timeout=60) == 3
