"""Long chains: the end of a record unblocks its successors without a look at all the records that wait."""

from collections.abc import AsyncIterator

import pytest

import shop
from lq_core import QueueConfig, QueueService, Worker
from lq_core.queue import Unblocked
from lq_core.queue.memory import InMemoryQueueBackend

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


async def test_what_comes_after_many_records_starts_when_all_have_ended(service: QueueService) -> None:
    parts = [shop.add.call(number, 0) for number in range(LENGTH)]
    lasts = [shop.add.using(after=parts).call(number, 1) for number in range(LENGTH)]

    async with Worker(service):
        made = await service.enqueue_many([*parts, *lasts])
        results = [await one.wait(timeout=60) for one in made[LENGTH:]]

    assert results == [number + 1 for number in range(LENGTH)]
