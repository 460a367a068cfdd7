"""The memory queue backend passes the suite of queue backends."""

import tracemalloc
from typing import Any

import pytest
from msgspec.structs import replace

from lq_core import QueueConfig, QueueService, task
from lq_core.contracts import FairnessContract, QueueBackendContract, a_claim, a_record, a_swap, a_worker
from lq_core.queue import BaseQueueBackend, QueueStore
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.queue import Queue
from lq_core.records import lifecycle


@task(name="memory.wait_a_little")
async def wait_a_little() -> None:
    """Do nothing."""


class TestInMemoryQueueBackend(QueueBackendContract, FairnessContract):
    """The suite."""

    @pytest.fixture
    def queue(self) -> BaseQueueBackend:
        """An empty backend."""
        return InMemoryQueueBackend()


class Namesake(InMemoryQueueBackend):
    """A backend of a third party, whose attributes have the names that come to mind."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._claims = self._inserts = self._proposals = self._waiting = self._wake_ups = self._held_back = None
        self._own_loop = self._loop = self._lock = self._config = self._clock = self._pool = self._closed = None

    def _swap_at_once(self) -> None: ...

    _flush = _newest = _oldest = _settle_and_wake = _insert_and_wake = _insert_or_amend = _own_loop_of = _swap_at_once


class TestNamesake(QueueBackendContract):
    """The suite."""

    @pytest.fixture
    def queue(self) -> BaseQueueBackend:
        """An empty backend."""
        return Namesake()


Third = type("Third", (BaseQueueBackend,), dict.fromkeys(QueueStore.__abstractmethods__, lambda: None))
"""A store without attributes of its own."""


def test_the_front_door_shares_no_private_name_with_a_store() -> None:
    names = {name for name in (*vars(Queue), *vars(Third())) if name.startswith("_") and not name.endswith("__")}

    assert {name for name in names if not name.startswith(("_Queue__", "_abc_"))} == set()
    assert "_Queue__claims" in names


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


@pytest.mark.parametrize("concurrency_key", [None, "one"])
async def test_records_that_are_amended_again_and_again_take_no_more_memory(concurrency_key: str | None) -> None:
    """And they keep their order."""
    queue = InMemoryQueueBackend()
    records = [a_record(concurrency_key=concurrency_key) for _ in range(10)]
    await queue.insert(records)

    async def amend_all() -> None:
        for number, record in enumerate(records):
            wanted = replace(record, priority=record.priority + number)
            records[number] = lifecycle.amend(record, to=wanted, reschedule=False)
        assert all(await queue.amend_many([a_swap(record) for record in records]))

    await amend_all()
    tracemalloc.start()
    for _ in range(2000):
        await amend_all()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size < 1_000_000
    await queue.register(a_worker())
    assert [record.id for record in (await queue.claim(a_claim())).records] == [each.id for each in reversed(records)]
