"""The memory queue backend passes the suite of queue backends."""

import tracemalloc

import pytest

from lq_core import QueueConfig, QueueService, task
from lq_core.queue import BaseQueueBackend
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.testing import QueueBackendContract


@task(name="memory.wait_a_little")
async def wait_a_little() -> None:
    """Do nothing."""


class TestInMemoryQueueBackend(QueueBackendContract):
    """The suite."""

    @pytest.fixture
    def queue(self) -> BaseQueueBackend:
        """An empty backend."""
        return InMemoryQueueBackend()


async def test_a_record_that_is_put_off_again_and_again_takes_no_more_memory() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as service:

        async def put_off(times: int) -> None:
            for _ in range(times):
                await service.enqueue(wait_a_little.using(key="one", delay=3600, on_conflict="debounce"))

        await put_off(2000)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await put_off(6000)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()

    assert grown < 6000 * 60  # An entry that stays takes some 300 bytes.
