"""What `dispatch()` and `reconcile()` do when an application calls them itself."""

import container_tasks as shop
from cloud import cloud
from lq_core import QueueConfig, TaskStatus
from lq_core.records import lifecycle


async def test_a_record_that_no_worker_would_start_is_not_dispatched(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky:
        first = await sky.service.enqueue(shop.add, 1, second=2)
        [blocked] = await sky.service.enqueue_many([shop.add.using(after=[first]).call(3, second=4)])
        [late] = await sky.service.enqueue_many([shop.add.using(expires_in=0.001).call(5, second=6)])
        [paused] = await sky.service.enqueue_many([shop.add.using(queue="paused").call(7, second=8)])
        await sky.service.pause("paused")
        backend = await sky.service.execution_backend("cloudrun")

        for sent in (blocked, late, paused):
            assert await backend.dispatch(sky.service, sent.record) is None
            assert (await sky.record(sent.record)).status is TaskStatus.PENDING
        assert not sky.emulator.executions()


async def test_a_list_of_many_megabytes_is_read(queue: QueueConfig, address: str) -> None:
    """By default gRPC refuses an answer of more than 4 MiB; Google's own channel takes all."""
    large = {f"SETTING_{number}": "x" * 30_000 for number in range(30)}
    async with cloud(queue, address, extra_env=large, job={"start_delay": 60}) as sky:
        for number in range(5):
            await (await sky.backend()).dispatch(sky.service, (await sky.service.enqueue(shop.add, number, 1)).record)
        sky.emulator.faults.lose_reply("RunJob")
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        await (await sky.backend()).dispatch(sky.service, sent.record)

        found = await (await sky.backend()).reconcile(sky.service, await sky.record(sent.record))

        assert found is not None
        assert found.execution_ref in sky.emulator.executions()


async def test_a_record_with_an_execution_is_not_given_a_second_one(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, job={"start_delay": 60}) as sky:
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        backend = await sky.backend()
        first = await backend.dispatch(sky.service, sent.record)

        second = await backend.dispatch(sky.service, await sky.record(sent.record))

        assert second == first
        assert sky.emulator.executions() == [first]


async def test_a_container_that_claims_at_the_deadline_is_not_cancelled(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, start_deadline=1e-6) as sky:
        with sky.emulator.faults.hold_starts("shop"):
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            backend = await sky.backend()
            seen = await backend.execute(sky.service, sent.record)
            claimed = lifecycle.claim(seen, worker_id="the container", at=sky.service.queue_backend.now())
            assert await sky.service.swap(seen, claimed)

            assert await backend.reconcile(sky.service, seen) is None

        assert sky.emulator.calls("CancelExecution") == 0
