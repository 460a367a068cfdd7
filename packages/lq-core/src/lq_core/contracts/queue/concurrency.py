"""The contract of queue backends for concurrent callers: no duplicate, no loss, and one bad item fails alone."""

import asyncio
from collections import Counter

from lq_core.contracts.records import a_claim, a_record, a_swap, a_worker, claimed
from lq_core.queue import BaseQueueBackend, RecordFilter
from lq_core.records import lifecycle
from lq_core.records.record import QueuedTaskRecord, TaskStatus


class ConcurrencyContract:
    """Many callers."""

    async def test_concurrent_inserts_are_all_stored(self, queue: BaseQueueBackend) -> None:
        """Each caller gets the answer to its own records."""
        records = [a_record() for _ in range(100)]

        answers = await asyncio.gather(*[queue.insert([record]) for record in records])

        assert [answer[0].record.id for answer in answers] == [record.id for record in records]
        assert len(await queue.get_many([record.id for record in records])) == 100

    async def test_one_of_many_with_the_same_key_is_stored(self, queue: BaseQueueBackend) -> None:
        """All others are answered with it."""
        answers = await asyncio.gather(*[queue.insert([a_record(key="one")]) for _ in range(20)])

        assert sum(answer[0].created for answer in answers) == 1
        assert len({answer[0].record.id for answer in answers}) == 1

    async def test_concurrent_claims_share_the_due_records(self, queue: BaseQueueBackend) -> None:
        """No record is claimed twice, and none is left."""
        names = [f"worker-{number}" for number in range(8)]
        await asyncio.gather(*[queue.register(a_worker(name)) for name in names])
        await queue.insert([a_record() for _ in range(100)])

        answers = await asyncio.gather(*[queue.claim(a_claim(name, limit=20)) for name in names])

        taken = Counter(record.id for answer in answers for record in answer.records)
        assert (len(taken), max(taken.values())) == (100, 1)

    async def test_of_concurrent_swaps_from_one_epoch_one_is_kept(self, queue: BaseQueueBackend) -> None:
        """The first caller wins."""
        (running,) = await claimed(queue, a_record())
        rivals = [lifecycle.complete(running, result=str(number), at=queue.now()) for number in range(10)]

        kept = await asyncio.gather(*[queue.swap([a_swap(rival)]) for rival in rivals])

        assert sum(answer[0] for answer in kept) == 1
        assert await queue.get(running.id) == rivals[kept.index([True])]

    async def test_enqueuing_and_draining_at_once_loses_nothing(self, queue: BaseQueueBackend) -> None:
        """Every record completes exactly once."""
        records = [a_record(key=f"key-{number}") for number in range(120)]
        names = ["ada", "bob", "cyd"]
        finished: Counter[str] = Counter()
        await asyncio.gather(*[queue.register(a_worker(name)) for name in names])

        async def enqueue(some: list[QueuedTaskRecord]) -> None:
            for record in some:
                await queue.insert([record])

        async def drain(name: str) -> None:
            while finished.total() < len(records):
                changes = queue.changes
                taken = (await queue.claim(a_claim(name, limit=7))).records
                ended = [lifecycle.complete(record, result="1", at=queue.now()) for record in taken]
                kept = await queue.swap([a_swap(record) for record in ended])
                finished.update(str(record.id) for record, ok in zip(ended, kept, strict=True) if ok)
                if not taken:
                    await queue.wait_for_work(changes, timeout=0.05)

        async with asyncio.timeout(30):
            await asyncio.gather(*[enqueue(records[part::4]) for part in range(4)], *[drain(name) for name in names])

        assert len(finished) == 120
        assert len(await queue.find(RecordFilter(statuses=(TaskStatus.COMPLETED,)), limit=200)) == 120

    async def test_a_caller_that_gives_up_does_not_disturb_the_others(self, queue: BaseQueueBackend) -> None:
        """A cancelled wait leaves the batch whole."""
        records = [a_record() for _ in range(10)]
        callers = [asyncio.create_task(queue.insert([record])) for record in records]
        await asyncio.sleep(0)
        for caller in callers[:2]:
            caller.cancel()

        answers = await asyncio.gather(*callers, return_exceptions=True)

        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[:2])
        assert [answer[0].created for answer in answers[2:] if not isinstance(answer, BaseException)] == [True] * 8
        assert len(await queue.get_many([record.id for record in records[2:]])) == 8

    async def test_it_closes_while_something_is_being_stored(self, queue: BaseQueueBackend) -> None:
        """Calls in progress may succeed or fail, and all of them end."""
        storing = asyncio.create_task(queue.insert([a_record()]))
        for _ in range(2):  # On its way to the database.
            await asyncio.sleep(0)

        await asyncio.wait_for(queue.close(), 20)

        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)

    async def test_a_long_enqueue_does_not_block_the_event_loop(self, queue: BaseQueueBackend) -> None:
        """A large enqueue does not block the event loop."""
        turns = Counter[str]()

        async def take_turns() -> None:
            while True:
                turns["others"] += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(take_turns())
        for _ in range(20):
            await queue.insert([a_record()])
        others.cancel()

        assert turns["others"] >= 20

    async def test_a_damaged_record_does_not_stop_the_others(self, queue: BaseQueueBackend) -> None:
        """It is claimed in its turn, with what can be read of it, and found by every search."""
        damaged, good = a_record(priority=9, metadata={"number": 1}, history=("nothing",)), a_record()

        taken = await claimed(queue, damaged, good)
        found = await queue.find(RecordFilter(), limit=10)

        assert [record.id for record in taken] == [damaged.id, good.id]
        assert {record.id for record in found} == {damaged.id, good.id}
