"""Workers delete the oldest of too many ended records, on every queue backend."""

from dataclasses import replace

from lq_core import QueueConfig, QueueService, RecordFilter, TaskStatus, Worker, task
from programs import until

ENDED = RecordFilter(statuses=(TaskStatus.COMPLETED,))


@task(name="retention.count")
async def count(number: int) -> int:
    return number


async def test_the_newest_are_kept_whatever_their_queue(config: QueueConfig) -> None:
    few = replace(config, retention_count={TaskStatus.COMPLETED: 3})
    async with QueueService(config) as service, QueueService(few, queue_backend=service.queue_backend) as pruning:
        async with Worker(service):
            queues = ("mail", "film") * 4
            sent = [await service.enqueue(count.using(queue=queue), number) for number, queue in enumerate(queues)]
            assert [await one.wait(timeout=30) for one in sent] == list(range(8))

        async def only_three_are_left() -> bool:
            return await service.count(ENDED) == 3

        async with Worker(pruning):
            await until(only_three_are_left, what="the oldest were deleted")

        assert {record.id for record in await service.find(ENDED)} == {one.id for one in sent[-3:]}


async def test_what_is_kept_for_ever_is_kept_and_the_rest_is_not(config: QueueConfig) -> None:
    kept = {TaskStatus.COMPLETED: float("inf"), TaskStatus.CANCELLED: 0.0}
    async with QueueService(replace(config, retention=kept)) as service:
        cancelled = await service.enqueue(count.using(delay=60), 1)
        await service.cancel(cancelled.id)

        async def it_was_deleted() -> bool:
            return await service.get(cancelled.id) is None

        async with Worker(service):
            sent = await service.enqueue(count, 2)
            await until(it_was_deleted, what="the cancelled record was deleted")
            assert await sent.wait(timeout=30) == 2

        assert await service.get(sent.id)


async def test_several_workers_do_not_delete_more_than_one(config: QueueConfig) -> None:
    few = replace(config, retention_count={TaskStatus.COMPLETED: 100}, concurrency=50)
    async with QueueService(config) as service, QueueService(few, queue_backend=service.queue_backend) as pruning:
        async with Worker(service):
            for one in await service.enqueue_many(count.call(number) for number in range(400)):
                await one.wait(timeout=30)

        async def only_a_hundred_are_left() -> bool:
            return await service.count(ENDED) <= 100

        async with Worker(pruning), Worker(pruning), Worker(pruning):
            await until(only_a_hundred_are_left, what="the oldest were deleted")

        assert await service.count(ENDED) == 100
