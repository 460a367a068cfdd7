"""What a queue backend owes to records that wait for others: found as soon as those have ended."""

from lq_core import lifecycle
from lq_core.identity import new_id
from lq_core.queue import BaseQueueBackend, Freed
from lq_core.record import Dependencies, QueuedTaskRecord
from lq_core.testing.records import a_record, a_swap, claimed


class PredecessorContract:
    """Blocked records."""

    async def test_a_blocked_record_is_freed_by_the_end_of_the_last_one_before_it(
        self, queue: BaseQueueBackend
    ) -> None:
        """However they ended; until then it waits."""
        first, second = await claimed(queue, a_record(), a_record())
        waits = after(first, second)
        await queue.insert([waits])

        assert await queue.freed(limit=10) == Freed(records=[], others_wait=True)
        await queue.swap([a_swap(lifecycle.complete(first, result="1", at=queue.now()))])
        assert await queue.freed(limit=10) == Freed(records=[], others_wait=True)
        await queue.swap([a_swap(lifecycle.cancel(second, at=queue.now()))])
        assert await queue.freed(limit=10) == Freed(records=[waits], others_wait=False)

    async def test_a_blocked_record_does_not_wait_for_one_that_is_there_no_more(self, queue: BaseQueueBackend) -> None:
        """It would wait for ever."""
        waits = after(a_record())
        await queue.insert([waits])

        assert await queue.freed(limit=10) == Freed(records=[waits], others_wait=False)

    async def test_a_record_that_goes_back_to_the_queue_is_still_waited_for(self, queue: BaseQueueBackend) -> None:
        """A retry is no end."""
        (running,) = await claimed(queue, a_record())
        await queue.insert([after(running)])

        await queue.swap([a_swap(lifecycle.snooze(running, delay=60, at=queue.now()))])

        assert await queue.freed(limit=10) == Freed(records=[], others_wait=True)

    async def test_what_has_been_let_go_is_freed_no_more(self, queue: BaseQueueBackend) -> None:
        """Unblocked or cancelled, it is out of the list."""
        unblocked, cancelled = after(a_record()), after(a_record())
        await queue.insert([unblocked, cancelled])

        await queue.swap([a_swap(lifecycle.unblock(unblocked, incomplete=[], at=queue.now()))])
        await queue.swap([a_swap(lifecycle.unblock(cancelled, incomplete=[new_id()], at=queue.now()))])

        assert await queue.freed(limit=10) == Freed(records=[], others_wait=False)

    async def test_freed_reads_no_more_than_asked_for(self, queue: BaseQueueBackend) -> None:
        """The oldest come first."""
        waiting = [after(a_record()) for _ in range(3)]
        await queue.insert(waiting)

        assert await queue.freed(limit=2) == Freed(records=waiting[:2], others_wait=True)


def after(*records: QueuedTaskRecord) -> QueuedTaskRecord:
    """Make a record that waits for these."""
    return a_record(after=Dependencies(ids=tuple(record.id for record in records)), blocked=True)
