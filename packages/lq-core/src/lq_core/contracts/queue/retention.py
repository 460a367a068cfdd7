"""The contract of queue backends for retention: old ended records are deleted, others are not."""

from datetime import datetime, timedelta

import pytest

from lq_core.contracts.records import a_record, a_swap, claimed
from lq_core.queue import BaseQueueBackend, RecordFilter
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import TERMINAL, QueuedTaskRecord, TaskFailure, TaskStatus


async def completed(queue: BaseQueueBackend, *ends: datetime, of: str = "default") -> list[QueuedTaskRecord]:
    """Store records that have completed at these moments."""
    running = await claimed(queue, *[a_record(queue=of) for _ in ends])
    ended = [lifecycle.complete(record, result="1", at=end) for record, end in zip(running, ends, strict=True)]
    await queue.swap([a_swap(record) for record in ended])
    return ended


class RetentionContract:
    """Deletion of ended records."""

    async def test_records_that_ended_before_are_deleted(self, queue: BaseQueueBackend) -> None:
        """The moment itself is not before."""
        now = queue.now()
        old, boundary, young = await completed(queue, now - timedelta(days=2), now - timedelta(days=1), now)

        deleted = await queue.delete_ended(status=TaskStatus.COMPLETED, before=now - timedelta(days=1), limit=100)

        assert deleted == 1
        assert await queue.get(old.id) is None
        assert len(await queue.get_many([boundary.id, young.id])) == 2

    async def test_only_records_of_the_status_are_deleted(self, queue: BaseQueueBackend) -> None:
        """Each status has its own time."""
        past = queue.now() - timedelta(days=2)
        (kept,) = await completed(queue, past)
        (running,) = await claimed(queue, a_record())
        failure = TaskFailure(type="ValueError", message="no")
        failed = lifecycle.retry_or_fail(running, failure=failure, delay=None, at=past)
        await queue.swap([a_swap(failed)])

        assert await queue.delete_ended(status=TaskStatus.FAILED, before=queue.now(), limit=100) == 1
        assert list(await queue.find(RecordFilter())) == [kept]

    async def test_deletion_in_portions_comes_to_an_end(self, queue: BaseQueueBackend) -> None:
        """The limit bounds one portion over all queues; a portion of 0 is the last."""
        past = queue.now() - timedelta(days=2)
        await completed(queue, past, past, past, of="mail")
        await completed(queue, past, past, of="film")

        portions = [
            await queue.delete_ended(status=TaskStatus.COMPLETED, before=queue.now(), limit=2) for _ in range(4)
        ]

        assert portions == [2, 2, 1, 0]
        assert (await queue.statistics()).counts == {}

    @pytest.mark.parametrize("status", sorted(TERMINAL))
    async def test_active_records_are_never_deleted(self, queue: BaseQueueBackend, status: TaskStatus) -> None:
        """However old they are."""
        long_ago = queue.now() - timedelta(days=900)
        await claimed(queue, a_record(created_at=long_ago, scheduled_at=long_ago))
        await queue.insert([a_record(created_at=long_ago, scheduled_at=long_ago)])

        assert await queue.delete_ended(status=status, before=queue.now() + timedelta(days=1), limit=100) == 0
        assert len(await queue.find(RecordFilter())) == 2

    async def test_named_records_are_deleted_if_they_have_ended(self, queue: BaseQueueBackend) -> None:
        """Each once; those that are active, unknown or not named stay."""
        first, second, other = await completed(queue, *[queue.now()] * 3)
        (running,) = await claimed(queue, a_record())
        waiting = a_record()
        await queue.insert([waiting])

        deleted = await queue.delete_many([first.id, second.id, first.id, running.id, waiting.id, new_id()])

        assert deleted == 2
        assert {record.id for record in await queue.find(RecordFilter())} == {other.id, running.id, waiting.id}
        assert await queue.delete_many([first.id]) == 0

    async def test_a_record_retried_by_hand_is_not_deleted(self, queue: BaseQueueBackend) -> None:
        """It is pending again."""
        (ended,) = await completed(queue, queue.now() - timedelta(days=2))
        cancelled = a_record()
        await queue.insert([cancelled])
        gone = lifecycle.cancel(cancelled, at=queue.now() - timedelta(days=2))
        await queue.swap([a_swap(gone)])
        await queue.swap([a_swap(lifecycle.retry(gone, at=queue.now()))])

        assert await queue.delete_ended(status=TaskStatus.CANCELLED, before=queue.now(), limit=100) == 0
        assert await queue.delete_ended(status=TaskStatus.COMPLETED, before=queue.now(), limit=100) == 1
        assert [record.id for record in await queue.find(RecordFilter())] == [cancelled.id]
        assert await queue.get(ended.id) is None
