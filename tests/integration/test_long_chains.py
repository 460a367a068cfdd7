"""Long chains: the end of a record unblocks its successors without a look at all the records that wait."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest

import shop
from lq_core import QueueConfig, QueuedTaskRecord, QueueService, StorageError, Worker
from lq_core.contracts import a_claim, a_worker
from lq_core.queue import Unblocked
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.records import lifecycle
from lq_core.worker.loop import Stop, repeat
from lq_core.worker.sweeps import Sweeps
from programs import until

LENGTH = 300


class Counting(InMemoryQueueBackend):
    """Counts the looks at all blocked records."""

    looks = 0

    async def unblocked(self, *, limit: int) -> Unblocked:
        self.looks += 1
        return await super().unblocked(limit=limit)


@pytest.fixture
def queue() -> Counting:
    return Counting(QueueConfig())


@pytest.fixture
async def service(queue: Counting) -> AsyncIterator[QueueService]:
    async with QueueService(QueueConfig(), queue_backend=queue) as service:
        yield service


async def test_a_long_chain_is_not_looked_at_for_each_of_its_records(service: QueueService, queue: Counting) -> None:
    chain = [shop.add.call(0, 0)]
    for number in range(1, LENGTH):
        chain.append(shop.add.using(after=[chain[-1]]).call(number, number))

    async with Worker(service):
        *_, last = await service.enqueue_many(chain)
        assert await last.wait(timeout=60) == 2 * (LENGTH - 1)

    assert queue.looks < LENGTH / 3


class Paged(InMemoryQueueBackend):
    """Looks at a page of the blocked records, as PostgreSQL does, on which nothing is free, and fails at first."""

    failures = 0

    async def unblocked(self, *, limit: int) -> Unblocked:
        return Unblocked(records=[], others_wait=True)

    async def unblocked_by(self, ids: Sequence[UUID], *, limit: int) -> Sequence[QueuedTaskRecord]:
        self.failures -= 1
        if self.failures >= 0:
            raise StorageError("Somebody has pulled the plug.")
        return await super().unblocked_by(ids, limit=limit)


@pytest.mark.parametrize("failures", [0, 1])
async def test_the_end_of_a_record_is_not_forgotten_by_a_look_at_a_page_of_the_blocked_ones(failures: int) -> None:
    queue = Paged(QueueConfig())
    queue.failures = failures
    async with QueueService(QueueConfig(), queue_backend=queue) as service:
        first = shop.add.call(1, 1)
        _, second = await service.enqueue_many([first, shop.add.using(after=[first]).call(2, 2)])
        await queue.register(a_worker())
        [record] = (await queue.claim(a_claim())).records
        await service.swap(record, lifecycle.complete(record, result="2", at=queue.now()))

        async def is_free() -> bool:
            return not (await second.refresh()).blocked

        unblocking = asyncio.create_task(repeat("unblock", Sweeps(service).unblock, Stop()))
        await until(is_free, what="the successor is free")
        unblocking.cancel()


async def test_what_comes_after_many_records_starts_when_all_have_ended(service: QueueService) -> None:
    parts = [shop.add.call(number, 0) for number in range(LENGTH)]
    lasts = [shop.add.using(after=parts).call(number, 1) for number in range(LENGTH)]

    async with Worker(service):
        made = await service.enqueue_many([*parts, *lasts])
        results = [await one.wait(timeout=60) for one in made[LENGTH:]]

    assert results == [number + 1 for number in range(LENGTH)]
