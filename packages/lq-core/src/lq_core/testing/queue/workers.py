"""What a queue backend owes to workers, and to the records of those that have died."""

from lq_core import lifecycle
from lq_core.queue import BaseQueueBackend
from lq_core.record import TaskFailure, TaskStatus
from lq_core.testing.records import a_claim, a_record, a_swap, a_worker, claimed

DEAD_AT_ONCE = -1.0
"""A timeout by which every worker has lapsed: the tests cannot wait for one to."""


class WorkerContract:
    """Registration, heartbeat and rescue."""

    async def test_a_registered_worker_is_read_back(self, queue: BaseQueueBackend) -> None:
        """What the others see of it."""
        worker = a_worker()

        await queue.register(worker)

        (seen,) = await queue.workers()
        assert (seen.id, seen.queues, seen.execution_backends) == (worker.id, None, ("local",))
        assert (seen.concurrency, seen.started_at) == (10, worker.started_at)

    async def test_a_heartbeat_is_answered(self, queue: BaseQueueBackend) -> None:
        """True for a worker that is known, and it has been seen since."""
        await queue.register(a_worker())
        (before,) = await queue.workers()

        assert await queue.beat("ada")

        (after,) = await queue.workers()
        assert after.seen_at >= before.seen_at

    async def test_an_unknown_worker_learns_that_it_is_unknown(self, queue: BaseQueueBackend) -> None:
        """A heartbeat does not bring a dead worker back."""
        assert not await queue.beat("ada")
        assert list(await queue.workers()) == []

    async def test_the_records_of_a_retired_worker_are_orphans_at_once(self, queue: BaseQueueBackend) -> None:
        """Nobody has to wait for a worker that has said goodbye."""
        (running,) = await claimed(queue, a_record())
        await queue.retire("ada")

        assert list(await queue.orphans(timeout=60, limit=10)) == [running]
        assert not await queue.beat("ada")

    async def test_the_records_of_a_living_worker_are_no_orphans(self, queue: BaseQueueBackend) -> None:
        """Only the worker's heartbeat counts, not how long the task takes."""
        await claimed(queue, a_record())

        assert list(await queue.orphans(timeout=60, limit=10)) == []

    async def test_a_worker_unheard_of_is_declared_dead(self, queue: BaseQueueBackend) -> None:
        """Its records are orphans, and when it wakes up it is told."""
        (running,) = await claimed(queue, a_record())

        orphans = await queue.orphans(timeout=DEAD_AT_ONCE, limit=10)

        assert list(orphans) == [running]
        assert not await queue.beat("ada")
        assert not (await queue.claim(a_claim())).alive
        assert list(await queue.workers()) == []

    async def test_orphans_are_found_until_somebody_takes_them(self, queue: BaseQueueBackend) -> None:
        """A rescuer that dies itself leaves them for the next one."""
        (running,) = await claimed(queue, a_record())
        await queue.retire("ada")
        failure = TaskFailure(type="WorkerLost", message="ada is gone")

        first, second = await queue.orphans(timeout=60, limit=10), await queue.orphans(timeout=60, limit=10)
        await queue.swap([a_swap(lifecycle.lose(running, failure=failure, at=queue.now()))])

        assert list(first) == list(second) == [running]
        assert list(await queue.orphans(timeout=60, limit=10)) == []

    async def test_a_limit_of_orphans_is_heeded(self, queue: BaseQueueBackend) -> None:
        """A great rescue goes page by page."""
        await claimed(queue, *[a_record() for _ in range(5)])
        await queue.retire("ada")

        assert len(await queue.orphans(timeout=60, limit=2)) == 2

    async def test_a_dead_worker_cannot_settle_what_has_been_rescued(self, queue: BaseQueueBackend) -> None:
        """Its epoch is over."""
        (running,) = await claimed(queue, a_record())
        await queue.retire("ada")
        lost = lifecycle.lose(running, failure=TaskFailure(type="WorkerLost", message="gone"), at=queue.now())
        await queue.swap([a_swap(lost)])

        assert await queue.swap([a_swap(lifecycle.complete(running, result="1", at=queue.now()))]) == [False]
        assert await queue.get(running.id) == lost

    async def test_a_reserved_record_is_nobodys_orphan(self, queue: BaseQueueBackend) -> None:
        """It belongs to its execution, and the reconciler looks after it."""
        await claimed(queue, a_record(), to=TaskStatus.DISPATCHED)
        await queue.retire("ada")

        assert list(await queue.orphans(timeout=60, limit=10)) == []

    async def test_a_running_record_of_a_worker_never_registered_is_an_orphan(self, queue: BaseQueueBackend) -> None:
        """Nothing that runs is invisible."""
        record = a_record()
        await queue.insert([record])
        running = await queue.claim_one(record.id, record.epoch, worker_id="stranger")

        assert list(await queue.orphans(timeout=60, limit=10)) == [running]

    async def test_registering_twice_is_one_worker(self, queue: BaseQueueBackend) -> None:
        """A worker that was declared dead comes back under its name."""
        await queue.register(a_worker())
        await queue.register(a_worker())

        assert [worker.id for worker in await queue.workers()] == ["ada"]
