"""The contract of queue backends for workers, and to the records of dead workers."""

from lq_core.contracts.records import a_claim, a_record, a_swap, a_worker, claimed
from lq_core.queue import BaseQueueBackend
from lq_core.records import lifecycle
from lq_core.records.record import TaskFailure, TaskStatus

DEAD_AT_ONCE = -1.0
"""A timeout after which every worker has lapsed, so that the tests need not wait."""


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
        """The records of a retired worker are orphans at once."""
        (running,) = await claimed(queue, a_record())
        await queue.retire("ada")

        assert list(await queue.orphans(timeout=60, limit=10)) == [running]
        assert not await queue.beat("ada")

    async def test_the_records_of_a_live_worker_are_not_orphans(self, queue: BaseQueueBackend) -> None:
        """Only the worker's heartbeat counts, not how long the task takes."""
        await claimed(queue, a_record())

        assert list(await queue.orphans(timeout=60, limit=10)) == []

    async def test_a_worker_unheard_of_is_declared_dead(self, queue: BaseQueueBackend) -> None:
        """Its records are orphans, and its next heartbeat returns False."""
        (running,) = await claimed(queue, a_record())

        orphans = await queue.orphans(timeout=DEAD_AT_ONCE, limit=10)

        assert list(orphans) == [running]
        assert not await queue.beat("ada")
        assert not (await queue.claim(a_claim())).alive
        assert list(await queue.workers()) == []

    async def test_orphans_are_found_until_they_are_rescued(self, queue: BaseQueueBackend) -> None:
        """If the rescuer dies, another worker finds the same orphans."""
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

    async def test_a_dead_worker_cannot_settle_a_rescued_record(self, queue: BaseQueueBackend) -> None:
        """Its epoch is over."""
        (running,) = await claimed(queue, a_record())
        await queue.retire("ada")
        lost = lifecycle.lose(running, failure=TaskFailure(type="WorkerLost", message="gone"), at=queue.now())
        await queue.swap([a_swap(lost)])

        assert await queue.swap([a_swap(lifecycle.complete(running, result="1", at=queue.now()))]) == [False]
        assert await queue.get(running.id) == lost

    async def test_a_dispatched_record_is_not_an_orphan(self, queue: BaseQueueBackend) -> None:
        """It belongs to its execution, and the reconciler looks after it."""
        await claimed(queue, a_record(), to=TaskStatus.DISPATCHED)
        await queue.retire("ada")

        assert list(await queue.orphans(timeout=60, limit=10)) == []

    async def test_a_running_record_of_a_worker_never_registered_is_an_orphan(self, queue: BaseQueueBackend) -> None:
        """Every running record is found."""
        record = a_record()
        await queue.insert([record])
        running = await queue.claim_one(record.id, record.epoch, worker_id="stranger")

        assert list(await queue.orphans(timeout=60, limit=10)) == [running]

    async def test_registering_twice_is_one_worker(self, queue: BaseQueueBackend) -> None:
        """A worker that was declared dead comes back under its name."""
        await queue.register(a_worker())
        await queue.register(a_worker())

        assert [worker.id for worker in await queue.workers()] == ["ada"]

    async def test_the_records_of_a_worker_are_read_by_its_id(self, queue: BaseQueueBackend) -> None:
        """The running records alone: not those of others, nor what is reserved, waits or has ended."""
        (mine,) = await claimed(queue, a_record())
        (ended,) = await claimed(queue, a_record())
        await queue.swap([a_swap(lifecycle.complete(ended, result="1", at=queue.now()))])
        await claimed(queue, a_record(), worker_id="bob")
        await claimed(queue, a_record(), to=TaskStatus.DISPATCHED)
        await queue.insert([a_record()])

        assert list(await queue.owned("ada")) == [mine]

    async def test_a_dead_worker_owns_its_records_until_they_are_rescued(self, queue: BaseQueueBackend) -> None:
        """The answer does not depend on the heartbeat."""
        (running,) = await claimed(queue, a_record())
        await queue.retire("ada")

        assert list(await queue.owned("ada")) == [running]
        assert list(await queue.owned("bob")) == []
