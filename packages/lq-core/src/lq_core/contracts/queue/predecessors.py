"""The contract of queue backends for records that wait for others: found when those have ended."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from lq_core.contracts.records import a_record, a_swap, claimed
from lq_core.queue import BaseQueueBackend, Proposal, RecordFilter, Successors, Swap, Unblocked, insert_or_amend
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import Dependencies, QueuedTaskRecord
from lq_core.tasks.options import OnConflict


class PredecessorContract:
    """Blocked records."""

    async def test_a_blocked_record_is_unblocked_by_the_end_of_its_last_predecessor(
        self, queue: BaseQueueBackend
    ) -> None:
        """However they ended; until then it waits."""
        first, second = await claimed(queue, a_record(), a_record())
        waits = after(first, second)
        await queue.insert([waits])

        assert await queue.unblocked(limit=10) == Unblocked(records=[], others_wait=True)
        await queue.swap([a_swap(lifecycle.complete(first, result="1", at=queue.now()))])
        assert await queue.unblocked(limit=10) == Unblocked(records=[], others_wait=True)
        await queue.swap([a_swap(lifecycle.cancel(second, at=queue.now()))])
        assert await queue.unblocked(limit=10) == Unblocked(records=[waits], others_wait=False)

    async def test_a_blocked_record_does_not_wait_for_a_deleted_predecessor(self, queue: BaseQueueBackend) -> None:
        """Otherwise it would wait for ever."""
        waits = after(a_record())
        await queue.insert([waits])

        assert await queue.unblocked(limit=10) == Unblocked(records=[waits], others_wait=False)

    async def test_a_blocked_record_waits_for_a_retried_predecessor(self, queue: BaseQueueBackend) -> None:
        """A retry is no end."""
        (running,) = await claimed(queue, a_record())
        await queue.insert([after(running)])

        await queue.swap([a_swap(lifecycle.snooze(running, delay=60, at=queue.now()))])

        assert await queue.unblocked(limit=10) == Unblocked(records=[], others_wait=True)

    async def test_a_record_that_is_no_longer_blocked_is_not_found(self, queue: BaseQueueBackend) -> None:
        """Unblocked or cancelled, it is out of the list."""
        unblocked, cancelled = after(a_record()), after(a_record())
        await queue.insert([unblocked, cancelled])

        await queue.swap([a_swap(lifecycle.unblock(unblocked, incomplete=[], at=queue.now()))])
        await queue.swap([a_swap(lifecycle.unblock(cancelled, incomplete=[new_id()], at=queue.now()))])

        assert await queue.unblocked(limit=10) == Unblocked(records=[], others_wait=False)

    async def test_unblocked_reads_at_most_the_limit(self, queue: BaseQueueBackend) -> None:
        """The oldest come first."""
        waiting = [after(a_record()) for _ in range(3)]
        await queue.insert(waiting)

        assert await queue.unblocked(limit=2) == Unblocked(records=waiting[:2], others_wait=True)

    async def test_the_successors_of_a_record_are_found_when_all_their_predecessors_have_ended(
        self, queue: BaseQueueBackend
    ) -> None:
        """A backend with ``Successors`` finds them without the other blocked records."""
        first, second = await claimed(queue, a_record(), a_record())
        both, mine, other = after(first, second), after(first), after(a_record())
        await queue.insert([both, mine, other])
        await queue.swap([a_swap(lifecycle.complete(first, result="1", at=queue.now()))])

        assert await unblocked_by(queue, [first.id], limit=10) == [mine]
        await queue.swap([a_swap(lifecycle.complete(second, result="1", at=queue.now()))])
        assert await unblocked_by(queue, [second.id], limit=10) == [both]
        assert await unblocked_by(queue, [first.id, second.id], limit=1) == [both]
        assert await unblocked_by(queue, [mine.id], limit=10) == []

    async def test_the_blocked_successors_of_a_record_are_found_oldest_first(self, queue: BaseQueueBackend) -> None:
        """A backend with ``Successors`` finds them, wherever they are among the records."""
        first = a_record()
        waiting = [after(first), after(first, a_record()), after(a_record(), first)]
        await queue.insert([first, after(a_record()), *reversed(waiting)])

        assert await successors_of(queue, first.id, limit=10) == waiting
        assert await successors_of(queue, first.id, limit=2) == waiting[:2]
        assert await successors_of(queue, waiting[0].id, limit=10) == []

    @pytest.mark.parametrize("policy", [OnConflict.REPLACE, OnConflict.DEBOUNCE])
    async def test_a_record_waits_for_a_predecessor_that_is_amended(
        self, queue: BaseQueueBackend, policy: OnConflict
    ) -> None:
        """Until it has ended: neither is it unblocked before, nor does it wait for ever."""
        await queue.insert([first := a_record(key="one", delay=60), waits := after(first)])
        (answer,) = await queue.propose([Proposal(a_record(key="one", arguments='{"n":1}'), policy)])
        amended = answer.record

        assert (answer.replaced, amended.id) == (True, first.id)
        assert await queue.unblocked(limit=10) == Unblocked(records=[], others_wait=True)
        await queue.swap([a_swap(lifecycle.cancel(amended, at=queue.now()))])
        assert await queue.unblocked(limit=10) == Unblocked(records=[waits], others_wait=False)

    async def test_a_record_comes_after_the_one_that_was_amended(self, queue: BaseQueueBackend) -> None:
        """Where both are proposed together."""
        await queue.insert([holder := a_record(key="one", delay=60)])
        first = a_record(key="one")
        proposals = [Proposal(after(after_first := after(first))), Proposal(after_first)]

        answers = await queue.propose([*proposals, Proposal(first, OnConflict.REPLACE)])

        assert [answer.replaced for answer in answers] == [False, False, True]
        assert [answer.record.after for answer in answers[:2]] == [
            Dependencies(ids=(after_first.id,)),
            Dependencies(ids=(holder.id,)),
        ]

    async def test_a_record_comes_after_the_one_that_could_not_be_amended(self, queue: BaseQueueBackend) -> None:
        """Another record that ends meanwhile releases the key, so a new one is stored, and it is not lost."""
        await queue.insert([holder := a_record(key="one", delay=60)])
        first = a_record(key="one")

        async def end_and_amend(swaps: Sequence[Swap]) -> Sequence[bool]:
            await queue.swap([a_swap(lifecycle.cancel(holder, at=queue.now()))])
            return await queue.amend_many(swaps)

        proposals = [Proposal(first, OnConflict.REPLACE), Proposal(waits := after(first))]
        answers = await insert_or_amend(proposals, insert=queue.insert_many, amend=end_and_amend)

        assert [(answer.created, answer.record) for answer in answers] == [(True, first), (True, waits)]
        assert await queue.unblocked(limit=10) == Unblocked(records=[], others_wait=True)


def after(*records: QueuedTaskRecord) -> QueuedTaskRecord:
    """Make a record that waits for these."""
    return a_record(after=Dependencies(ids=tuple(record.id for record in records)), blocked=True)


async def unblocked_by(queue: BaseQueueBackend, ids: Sequence[UUID], *, limit: int) -> Sequence[QueuedTaskRecord]:
    """Read the unblocked records that come after any of *ids*, as the backend can."""
    if isinstance(queue, Successors):
        return list(await queue.unblocked_by(ids, limit=limit))
    unblocked = (await queue.unblocked(limit=limit)).records
    return [record for record in unblocked if record.after and not set(ids).isdisjoint(record.after.ids)]


async def successors_of(queue: BaseQueueBackend, record_id: UUID, *, limit: int) -> Sequence[QueuedTaskRecord]:
    """Find the blocked records after a record: by the capability, or by a look at all records."""
    if isinstance(queue, Successors):
        return await queue.successors(record_id, limit=limit)
    found = await queue.find(RecordFilter(), limit=100, after=record_id)
    return [record for record in found if record.after and record_id in record.after.ids][:limit]
