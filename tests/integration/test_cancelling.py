"""Records are cancelled and retried by hand, also while they run and inside of an immediate call."""

import asyncio

import pytest

import shop
from lq_core import (
    IllegalMoveError,
    QueueConfig,
    QueueService,
    RecordNotFoundError,
    TaskFailedError,
    TaskResult,
    TaskStatus,
    Worker,
)
from lq_core.records.identity import new_id


async def until_running(sent: TaskResult[None]) -> None:
    """Look again and again: another thread starts it."""
    async with asyncio.timeout(10):
        while (await sent.refresh()).status is not TaskStatus.RUNNING:  # noqa: ASYNC110 -- another process could start it
            await asyncio.sleep(0)


async def test_a_waiting_record_is_cancelled_at_once(service: QueueService) -> None:
    sent = await service.enqueue(shop.add, 1, 1)

    assert await service.cancel(sent.id)
    assert (await sent.refresh()).status is TaskStatus.CANCELLED
    assert not await service.cancel(sent.id)


async def test_a_running_task_is_cancelled_and_recorded(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    sent = await service.enqueue(shop.wait_at_gate)
    await gate.wait_begun()

    assert await service.cancel(sent.id)
    with pytest.raises(TaskFailedError, match="cancelled"):
        await sent.wait(timeout=10)
    assert gate.ended == ["cancelled"]


async def test_a_plain_function_learns_of_its_cancellation(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.linger_in_thread.using(timeout=60))
    await until_running(sent)

    assert await service.cancel(sent.id)
    with pytest.raises(TaskFailedError, match="cancelled"):
        await sent.wait(timeout=10)


async def test_a_running_task_is_cancelled_from_another_service(config: QueueConfig) -> None:
    async with QueueService(config) as here:
        backend = here.queue_backend if config.queue_backend == "memory" else None
        there = QueueService(config, queue_backend=backend)
        async with there, Worker(here):
            gate = shop.new_gate()
            sent = await here.enqueue(shop.wait_at_gate)
            await gate.wait_begun()

            assert await there.cancel(sent.id)
            with pytest.raises(TaskFailedError, match="cancelled"):
                await sent.wait(timeout=10)


async def test_cancelling_an_unknown_record_says_so(service: QueueService) -> None:
    with pytest.raises(RecordNotFoundError):
        await service.cancel(new_id())


async def test_a_failed_record_is_retried_by_hand(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.stumble.using(retries=0), 1)
    with pytest.raises(TaskFailedError):
        await sent.wait(timeout=10)

    await service.retry(sent.id)

    with pytest.raises(TaskFailedError):
        await sent.wait(timeout=10)
    assert (await sent.refresh()).attempt == 2


async def test_a_completed_record_is_not_retried(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.add, 1, 1)
    await sent.wait(timeout=10)

    with pytest.raises(IllegalMoveError, match="it has completed"):
        await service.retry(sent.id)


async def test_an_immediate_call_whose_caller_goes_away_is_interrupted(service: QueueService) -> None:
    gate = shop.new_gate()
    caller = asyncio.create_task(service.enqueue(shop.wait_at_gate.using(execution_backend="immediate")))
    await gate.wait_begun()
    (record,) = await service.find()

    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    stored = await service.get(record.id)
    assert stored is not None
    assert (stored.status, stored.retry_count) == ("pending", 0)


async def test_an_immediate_call_that_ends_well_when_it_is_cancelled_does_not_cancel_its_caller(
    service: QueueService,
) -> None:
    gate = shop.new_gate()
    caller = asyncio.create_task(service.enqueue(shop.end_when_stopped.using(execution_backend="immediate")))
    await gate.wait_begun()
    (record,) = await service.find()

    assert await service.cancel(record.id)

    assert await (await caller).wait(timeout=10) == "half of it"
    assert caller.cancelling() == 0


async def test_an_immediate_call_may_be_made_while_its_caller_is_being_cancelled(service: QueueService) -> None:
    async def clean_up() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await (await service.enqueue(shop.add.using(execution_backend="immediate"), 1, 1)).wait(timeout=10)
        return 0

    caller = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    caller.cancel()

    assert await caller == 2


async def test_of_immediate_calls_whose_caller_goes_away_none_is_kept(service: QueueService) -> None:
    gate = shop.new_gate()
    waiting = shop.wait_at_gate.using(execution_backend="immediate")
    caller = asyncio.create_task(service.enqueue_many([waiting.call(), waiting.call()]))
    await gate.wait_begun()

    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)

    assert [record.status for record in await service.find()] == [TaskStatus.PENDING, TaskStatus.PENDING]


async def test_a_task_called_inside_a_cancelled_one_is_interrupted(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    outer = await service.enqueue(shop.wait_inside, shop.offer(service))
    await gate.wait_begun()

    assert await service.cancel(outer.id)
    with pytest.raises(TaskFailedError, match="cancelled"):
        await outer.wait(timeout=10)
    gate.opened.set()

    (inner,) = [record for record in await service.find() if record.task_name == "shop.wait_at_gate"]
    assert (await service.wait(inner.id, timeout=10)).retry_count == 0
