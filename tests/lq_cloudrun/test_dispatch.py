"""From the reservation to the claim: lost replies, refused calls, and dispatchers that die."""

import asyncio
import dataclasses
from typing import Any

import pytest
from grpc import StatusCode
from msgspec.structs import replace

import container_tasks as shop
from cloud import cloud, events_of
from lq_cloudrun import CloudRunExecutionBackend
from lq_cloudrun.emulator import connected
from lq_core import (
    ConfigurationError,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    TaskStatus,
    UnknownBackendError,
    Worker,
)
from lq_core.contracts.records import a_worker
from lq_core.execution import ExecutionService
from lq_core.records import lifecycle


async def test_a_container_adopts_its_record_after_a_lost_reply(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, confirm_after=60) as sky, Worker(sky.service):
        sky.emulator.faults.lose_reply("RunJob")
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await sent.wait(timeout=60) == 3
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.losses, len(sky.emulator.executions())) == (1, 0, 1)
        assert kept.log_url is not None


async def test_a_container_adopts_its_record_after_silence_until_the_deadline(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, confirm_after=60, rpc_timeout=3) as sky, Worker(sky.service):
        sky.emulator.faults.never_reply("RunJob")
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await sent.wait(timeout=60) == 3
        assert len(sky.emulator.executions()) == 1


async def test_a_lost_execution_is_found_by_its_environment_before_it_starts(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        with sky.emulator.faults.hold_starts("shop") as hold:
            sky.emulator.faults.lose_reply("RunJob")
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            await sky.until(sent.record, lambda record: "/executions/" in (record.execution_ref or ""))
            hold.release()

            assert await sent.wait(timeout=60) == 3
        assert len(sky.emulator.executions()) == 1


async def test_a_reservation_without_an_execution_is_released_after_two_looks(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, rpc_timeout=3) as sky, Worker(sky.service):
        sky.emulator.faults.refuse("RunJob", StatusCode.UNAVAILABLE)
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await sent.wait(timeout=60) == 3
        kept = await sky.record(sent.record)
        assert (events_of(kept), kept.losses) == (["released"], 0)
        assert (len(sky.emulator.executions()), sky.emulator.calls("RunJob")) == (1, 2)
        assert sky.emulator.calls("ListExecutions") >= 2


async def test_an_execution_that_the_list_does_not_show_yet_is_not_started_twice(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, absence_margin=60) as sky, Worker(sky.service):
        with sky.emulator.faults.hold_starts("shop") as start, sky.emulator.faults.freeze_list() as shown:
            sky.emulator.faults.lose_reply("RunJob")
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            await sky.emulator.wait_until(lambda: sky.emulator.calls("ListExecutions") > 3)
            shown.release()
            start.release()

            assert await sent.wait(timeout=60) == 3
        assert len(sky.emulator.executions()) == 1


async def test_a_storm_of_429_costs_no_attempt_and_slows_the_pace(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, runs_per_minute=600) as sky, Worker(sky.service):
        sky.emulator.faults.refuse("RunJob", StatusCode.RESOURCE_EXHAUSTED, times=3)
        sent = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(5))
        results = [await each.wait(timeout=60) for each in sent]

        assert results == [1, 2, 3, 4, 5]
        kept = [await sky.record(each.record) for each in sent]
        assert {(each.attempt, each.losses, each.retry_count) for each in kept} == {(1, 0, 0)}
        assert len(sky.emulator.executions()) == 5


async def test_an_unknown_profile_waits_with_its_reason_while_good_records_go_through(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, profiles=["large"]) as sky, Worker(sky.service):
        bad = await sky.service.enqueue(shop.add.using(execution_profile="lagre", priority=9), 1, second=2)
        good = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(3))

        assert [await each.wait(timeout=60) for each in good] == [1, 2, 3]
        kept = await sky.record(bad.record)
        assert (kept.status, kept.history[-1].event) == (TaskStatus.PENDING, "released")
        assert "Did you mean 'large'?" in (kept.history[-1].message or "")


@pytest.mark.parametrize("code", [StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED, StatusCode.INVALID_ARGUMENT])
async def test_without_a_fallback_a_misconfigured_job_is_tried_again_until_it_is_repaired(
    queue: QueueConfig, address: str, code: StatusCode
) -> None:
    async with cloud(queue, address) as sky, Worker(sky.service):
        sky.emulator.faults.refuse("RunJob", code, times=2)
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await sent.wait(timeout=60) == 3
        kept = await sky.record(sent.record)
        assert (events_of(kept), kept.attempt) == (["released", "released"], 1)


async def test_a_cancelled_record_whose_call_is_under_way_leaves_no_execution_behind(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, rpc_timeout=20) as sky, Worker(sky.service):
        starts = sky.emulator.faults.hold_starts("shop")
        with starts, sky.emulator.faults.hold("RunJob") as call:
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            await sky.emulator.wait_until(lambda: call.waiting == 1)
            await sky.service.cancel(sent.id)
            call.release()
            await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
            [name] = sky.emulator.executions()
            ended = await sky.emulator.wait_until_over(name)

            assert ended.cancelled_count == 1
            assert (await sky.record(sent.record)).status is TaskStatus.CANCELLED


async def test_no_more_executions_are_in_flight_than_allowed(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, max_in_flight=2) as sky:
        with sky.emulator.faults.hold_starts("shop") as hold:
            async with Worker(sky.service):
                sent = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(5))
                await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 2)
                looks = sky.emulator.calls("ListExecutions")
                await sky.emulator.wait_until(lambda: sky.emulator.calls("ListExecutions") > looks + 5)
                most = len(sky.emulator.executions())
                hold.release()
                results = [await each.wait(timeout=60) for each in sent]

        assert (most, results) == (2, [1, 2, 3, 4, 5])


async def test_records_of_a_full_job_let_those_of_a_free_one_through_and_are_not_claimed_over_and_over(
    queue: QueueConfig, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lq.cloudrun")
    settings: dict[str, Any] = {"runs_per_minute": 1, "max_runs_per_minute": 1}
    async with cloud(queue, address, profiles=["large"], **settings) as sky, Worker(sky.service):
        with sky.emulator.faults.hold_starts("shop"):
            many = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(40))
            large = await sky.service.enqueue(shop.add.using(execution_profile="large"), 1, second=2)

            assert await large.wait(timeout=60) == 3
            await sky.emulator.wait_until(lambda: caplog.text.count("cloudrun.put_off") == 39)
            looks = sky.emulator.calls("ListExecutions")
            await sky.emulator.wait_until(lambda: sky.emulator.calls("ListExecutions") > looks + 5)
            kept = [await sky.record(each.record) for each in many]

        assert max(each.epoch for each in kept) == 2
        assert {tuple(events_of(each)) for each in kept} == {()}
        assert "its rate is 1 per minute" in caplog.text


async def test_the_cap_of_a_job_holds_beside_a_free_one(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, profiles=["large"], max_in_flight=2) as sky:
        with sky.emulator.faults.hold_starts("shop") as hold:
            async with Worker(sky.service):
                many = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(5))
                large = await sky.service.enqueue(shop.add.using(execution_profile="large", priority=-9), 1, second=2)

                assert await large.wait(timeout=60) == 3
                assert len(sky.emulator.executions()) == 2 + 1
                hold.release()
                assert [await each.wait(timeout=60) for each in many] == [1, 2, 3, 4, 5]


async def test_records_of_other_jobs_take_no_room(queue: QueueConfig, address: str) -> None:
    elsewhere, job = (
        "projects/another/locations/us-east4/jobs/other",
        "projects/emulated/locations/us-central1/jobs/shop",
    )
    async with cloud(queue, address, max_in_flight=5) as sky:
        backend = await sky.backend()
        sent = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(9))
        for number, each in enumerate(sent):
            dispatched = lifecycle.dispatch(each.record, at=sky.service.queue_backend.now())
            name = f"{elsewhere}/executions/other-{number}" if number > 1 else f"{job}/executions/shop-{number}"
            await sky.service.swap(each.record, lifecycle.attach(dispatched, execution_ref=name))

        assert await backend.capacity(sky.service) == 3


async def test_two_dispatchers_share_the_cap(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, max_in_flight=5) as sky, QueueService(sky.service.config) as other:
        with sky.emulator.faults.hold_starts("shop") as hold:
            async with Worker(sky.service), Worker(other):
                sent = await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(12))
                await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) >= 5)
                backends = [await service.execution_backend("cloudrun") for service in (sky.service, other)]
                room = [
                    await each.capacity(sky.service) for each in backends if isinstance(each, CloudRunExecutionBackend)
                ]
                most = len(sky.emulator.executions())
                hold.release()
                results = [await each.wait(timeout=60) for each in sent]

        assert room == [0, 0]
        # Each takes half of the free places. The first may not have noticed the second by then.
        assert most <= 5 + 3
        assert results == [number + 1 for number in range(12)]


async def test_dispatchers_share_the_pace(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, runs_per_minute=60) as sky:
        backend = await sky.backend()
        alone = await backend.capacity(sky.service)
        await sky.service.queue_backend.register(replace(a_worker("ada"), execution_backends=("cloudrun", "local")))
        await sky.service.queue_backend.register(replace(a_worker("bob"), execution_backends=("cloudrun",)))
        await sky.service.queue_backend.register(replace(a_worker("a container"), execution_backends=()))

        assert (alone, await backend.capacity(sky.service)) == (15, 7)


async def test_a_dispatch_that_is_cancelled_keeps_its_reservation(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, rpc_timeout=20) as sky:
        backend = await sky.backend()
        sky.emulator.faults.never_reply("RunJob")
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        dispatching = asyncio.create_task(backend.execute(sky.service, sent.record))
        await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
        dispatching.cancel()

        with pytest.raises(asyncio.CancelledError):
            await dispatching
        assert await sent.wait(timeout=60) == 3
        assert len(sky.emulator.executions()) == 1


async def test_a_fallback_that_is_not_installed_is_refused_when_the_worker_starts(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, fallback_execution_backend="nowhere") as sky:
        with pytest.raises(UnknownBackendError, match="nowhere"):
            await Worker(sky.service).run()


async def test_without_any_job_the_worker_says_what_to_set(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, job_name=None) as sky:
        with pytest.raises(ConfigurationError, match=r"No job is configured: set .*job_name"):
            await Worker(sky.service).run()


async def test_a_client_that_was_given_outlives_the_backend(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky, connected(sky.emulator.address) as clients:
        given: Any = clients.jobs
        backend = CloudRunExecutionBackend(sky.service.config, jobs_client=given)
        await backend.open(sky.service)
        executions = backend.executions_client
        await backend.close()

        assert executions is not None
        assert (backend.jobs_client, backend.executions_client) == (given, None)


BY_PATH = "lq_cloudrun.backend:CloudRunExecutionBackend"


@pytest.mark.parametrize(
    "path, advice",
    [
        (BY_PATH, "which is what failed"),
        ("lq_cloudrun.container.pull_mode:PullExecution", "which no worker looks for: give its short name"),
    ],
)
async def test_a_fallback_that_no_worker_would_run_is_refused_when_the_worker_starts(
    queue: QueueConfig, address: str, path: str, advice: str
) -> None:
    async with cloud(queue, address, fallback_execution_backend=path) as sky:
        with pytest.raises(ConfigurationError, match=advice):
            await Worker(sky.service).run()


async def test_the_cap_holds_for_a_backend_that_goes_by_its_path(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, max_in_flight=1) as sky:
        config = dataclasses.replace(sky.service.config, execution_backends=(BY_PATH,))
        with sky.emulator.faults.hold_starts("shop") as hold:
            async with QueueService(config) as service, Worker(service):
                add = shop.add.using(execution_backend=BY_PATH)
                sent = await service.enqueue_many(add.call(number, second=1) for number in range(3))
                await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
                looks = sky.emulator.calls("ListExecutions")
                await sky.emulator.wait_until(lambda: sky.emulator.calls("ListExecutions") > looks + 5)
                most = len(sky.emulator.executions())
                hold.release()
                results = [await each.wait(timeout=60) for each in sent]

        assert (most, results) == (1, [1, 2, 3])


async def test_a_record_whose_request_cannot_be_built_fails_alone(queue: QueueConfig, address: str) -> None:
    class Particular(CloudRunExecutionBackend):
        def build_run_job_request(self, service: ExecutionService, record: QueuedTaskRecord) -> dict[str, Any]:
            raise KeyError("team")

    async with cloud(queue, address) as sky:
        backend = Particular(sky.service.config)
        await backend.open(sky.service)
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        failed = await backend.execute(sky.service, sent.record)
        await backend.close()

        assert (failed.status, failed.error and failed.error.type) == (TaskStatus.FAILED, "KeyError")
        assert await sky.record(sent.record) == failed
        assert sky.emulator.executions() == []


async def test_the_backend_that_dispatches_a_record_looks_after_it_from_then_on(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address) as sky:
        sent = await sky.service.enqueue(shop.add.using(execution_backend="local"), 1, second=2)
        name = await (await sky.backend()).dispatch(sky.service, sent.record)

        assert name in sky.emulator.executions()
        assert (await sky.record(sent.record)).execution_backend == "cloudrun"
        assert await sent.wait(timeout=60) == 3
