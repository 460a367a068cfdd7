"""The contract of queue backends for requests to cancel."""

from datetime import timedelta

from msgspec.structs import replace

from lq_core.contracts.records import a_claim, a_record, a_swap, claimed
from lq_core.queue import BaseQueueBackend, Swap
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import Progress, TaskStatus


class CancellationContract:
    """Requests to stop."""

    async def test_a_request_marks_the_record_and_leaves_its_owner(self, queue: BaseQueueBackend) -> None:
        """The epoch stays, because the owner records the end."""
        (running,) = await claimed(queue, a_record())

        assert await queue.request_cancel(running.id, running.epoch)

        assert await queue.get(running.id) == lifecycle.request_cancel(running)

    async def test_requests_are_read_until_the_record_has_ended(self, queue: BaseQueueBackend) -> None:
        """The owner finds the request."""
        running, other = await claimed(queue, a_record(), a_record())
        await queue.request_cancel(running.id, running.epoch)
        requests = await queue.cancel_requests()

        asked = lifecycle.request_cancel(running)
        await queue.swap([a_swap(lifecycle.cancel(asked, at=queue.now()))])

        assert list(requests) == [asked]
        assert list(await queue.cancel_requests()) == []
        assert not (await queue.get_many([other.id]))[0].cancel_requested

    async def test_a_request_of_an_old_epoch_is_refused(self, queue: BaseQueueBackend) -> None:
        """The record has another owner by now, or has ended."""
        (running,) = await claimed(queue, a_record())
        completed = lifecycle.complete(running, result="1", at=queue.now())
        await queue.swap([a_swap(completed)])

        assert not await queue.request_cancel(running.id, running.epoch)
        assert await queue.get(running.id) == completed

    async def test_a_request_for_a_record_without_an_owner_is_refused(self, queue: BaseQueueBackend) -> None:
        """A pending record is cancelled by a swap, an unknown one not at all."""
        record = a_record()
        await queue.insert([record])

        assert not await queue.request_cancel(record.id, record.epoch)
        assert not await queue.request_cancel(new_id(), 0)
        assert await queue.get(record.id) == record

    async def test_a_reserved_record_can_be_asked_to_stop(self, queue: BaseQueueBackend) -> None:
        """Also before its execution has begun."""
        (reserved,) = await claimed(queue, a_record(), to=TaskStatus.DISPATCHED)

        assert await queue.request_cancel(reserved.id, reserved.epoch)
        assert [record.id for record in await queue.cancel_requests()] == [reserved.id]

    async def test_a_write_of_the_owner_does_not_undo_the_request(self, queue: BaseQueueBackend) -> None:
        """The owner may write progress before it sees the request."""
        (running,) = await claimed(queue, a_record())
        await queue.request_cancel(running.id, running.epoch)
        further = replace(running, progress=Progress(done=1))

        await queue.swap([Swap(record=further, epoch=running.epoch)])

        assert await queue.get(running.id) == lifecycle.request_cancel(further)

    async def test_an_owner_cannot_make_a_request_by_a_swap(self, queue: BaseQueueBackend) -> None:
        """Only request_cancel sets the mark."""
        (running,) = await claimed(queue, a_record())

        await queue.swap([Swap(record=replace(running, cancel_requested=True), epoch=running.epoch)])

        assert await queue.get(running.id) == running

    async def test_a_record_put_back_unaware_of_the_request_is_not_claimed_again(self, queue: BaseQueueBackend) -> None:
        """It is pending, has a cancel request, and cancel_requests finds it."""
        (running,) = await claimed(queue, a_record())
        await queue.request_cancel(running.id, running.epoch)
        put_back = lifecycle.interrupt(running, at=queue.now() - timedelta(seconds=1))

        await queue.swap([a_swap(put_back)])

        assert (await queue.claim(a_claim())).records == ()
        assert await queue.next_due(a_claim()) is None
        assert list(await queue.cancel_requests()) == [lifecycle.request_cancel(put_back)]

    async def test_the_end_clears_the_request(self, queue: BaseQueueBackend) -> None:
        """A task that completes nevertheless is completed."""
        (running,) = await claimed(queue, a_record())
        await queue.request_cancel(running.id, running.epoch)
        completed = lifecycle.complete(running, result="1", at=queue.now())

        await queue.swap([a_swap(completed)])

        assert await queue.get(running.id) == completed
