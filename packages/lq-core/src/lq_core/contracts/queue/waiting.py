"""The contract of queue backends for records that wait: due times, expiry, and wake-ups for workers."""

import asyncio
from datetime import timedelta

from msgspec.structs import replace

from lq_core.contracts.records import a_claim, a_record, a_swap, a_worker, claimed
from lq_core.queue import BaseQueueBackend
from lq_core.records import lifecycle
from lq_core.records.record import TaskStatus


class WaitingContract:
    """Due times, expiry and wake-ups."""

    async def test_a_record_is_claimed_once_its_time_has_come(self, queue: BaseQueueBackend) -> None:
        """No other call is needed in between."""
        record = a_record(delay=0.05)
        await queue.register(a_worker())
        await queue.insert([record])

        async with asyncio.timeout(10):
            while not (taken := (await queue.claim(a_claim())).records):
                due = await queue.next_due(a_claim())
                assert due is not None
                await queue.wait_for_work(queue.changes, timeout=max(0.001, (due - queue.now()).total_seconds()))

        assert [found.id for found in taken] == [record.id]
        assert taken[0].started_at is not None
        assert taken[0].started_at >= record.scheduled_at

    async def test_the_next_due_time_is_that_of_the_first_record(self, queue: BaseQueueBackend) -> None:
        """To the microsecond, for what the claim could take."""
        first, second = a_record(delay=60, priority=-1), a_record(delay=120)
        await queue.insert([second, first])

        assert await queue.next_due(a_claim()) == first.scheduled_at

    async def test_the_next_due_time_counts_only_records_that_the_claim_could_take(
        self, queue: BaseQueueBackend
    ) -> None:
        """Other queues, other execution backends, paused queues and owned records do not count."""
        await claimed(queue, a_record())
        await queue.change_queue("paused", paused=True)
        mine = a_record(delay=600, queue="mail")
        others = [a_record(delay=60, queue="paused"), a_record(delay=60, execution_backend="cloud"), a_record(delay=60)]
        await queue.insert([mine, *others])

        assert await queue.next_due(a_claim(queues=("mail", "paused"))) == mine.scheduled_at

    async def test_a_blocked_record_is_neither_claimed_nor_due(self, queue: BaseQueueBackend) -> None:
        """It is pending, and is claimed once it is unblocked."""
        blocked = a_record(blocked=True)
        assert await claimed(queue, blocked) == []
        assert await queue.next_due(a_claim()) is None
        assert (await queue.statistics()).total(TaskStatus.PENDING) == 1

        unblocked = replace(blocked, blocked=False, epoch=1)
        assert await queue.swap([a_swap(unblocked)]) == [True]

        assert [record.id for record in (await queue.claim(a_claim())).records] == [blocked.id]

    async def test_a_blocked_record_expires_too(self, queue: BaseQueueBackend) -> None:
        """A record is overdue after ``expires_at``, also when it is blocked."""
        at = queue.now()
        blocked = a_record(blocked=True, expires_at=at - timedelta(seconds=1))
        await queue.insert([blocked])

        assert await queue.overdue(limit=10) == [blocked]

    async def test_nothing_is_due_in_an_empty_queue(self, queue: BaseQueueBackend) -> None:
        """None means that only new work can change anything."""
        assert await queue.next_due(a_claim()) is None

    async def test_a_due_record_has_a_due_time_in_the_past(self, queue: BaseQueueBackend) -> None:
        """A worker does not sleep then."""
        await queue.insert([a_record(), a_record(delay=60)])

        due = await queue.next_due(a_claim())

        assert due is not None
        assert due <= queue.now()

    async def test_a_worker_does_not_wait_for_overdue_records(self, queue: BaseQueueBackend) -> None:
        """Otherwise a worker would poll in a loop."""
        await queue.insert([a_record(expires_at=queue.now() - timedelta(seconds=5))])

        assert await queue.next_due(a_claim()) is None

    async def test_overdue_records_are_found(self, queue: BaseQueueBackend) -> None:
        """Also those that are not due yet; a limit is heeded."""
        past = queue.now() - timedelta(seconds=5)
        overdue = [a_record(expires_at=past), a_record(delay=60, expires_at=past)]
        await queue.insert([*overdue, a_record(delay=60), a_record(expires_at=queue.now() + timedelta(hours=1))])

        assert {record.id for record in await queue.overdue(limit=10)} == {record.id for record in overdue}
        assert len(await queue.overdue(limit=1)) == 1

    async def test_a_started_record_is_not_overdue(self, queue: BaseQueueBackend) -> None:
        """expires_at bounds the start, not the run."""
        record = a_record(expires_at=queue.now() + timedelta(hours=1))
        (running,) = await claimed(queue, record)
        ended = lifecycle.complete(running, result="1", at=queue.now() + timedelta(hours=2))
        await queue.swap([a_swap(ended)])

        assert list(await queue.overdue(limit=10)) == []

    async def test_an_expired_record_is_overdue_no_more(self, queue: BaseQueueBackend) -> None:
        """Each is found until it is expired."""
        record = a_record(expires_at=queue.now() - timedelta(seconds=5))
        await queue.insert([record])
        expired = lifecycle.expire(record, at=queue.now())

        assert await queue.swap([a_swap(expired)]) == [True]
        assert list(await queue.overdue(limit=10)) == []
        assert await queue.get(record.id) == expired

    async def test_an_insert_wakes_waiting_workers(self, queue: BaseQueueBackend) -> None:
        """Without waiting for the next look."""
        changes = queue.changes
        waiting = asyncio.create_task(queue.wait_for_work(changes, timeout=60))

        await queue.insert([a_record()])

        async with asyncio.timeout(10):
            await waiting
        assert queue.changes != changes

    async def test_work_that_came_before_the_wait_ends_it_at_once(self, queue: BaseQueueBackend) -> None:
        """No wake-up falls between the look and the wait."""
        changes = queue.changes
        await queue.insert([a_record()])

        async with asyncio.timeout(10):
            await queue.wait_for_work(changes, timeout=60)

    async def test_a_resumed_queue_wakes_waiting_workers(self, queue: BaseQueueBackend) -> None:
        """Its records can be claimed again at once."""
        await queue.change_queue("mail", paused=True)
        changes = queue.changes

        await queue.change_queue("mail", paused=False)

        async with asyncio.timeout(10):
            await queue.wait_for_work(changes, timeout=60)
