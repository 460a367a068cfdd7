"""The contract of queue backends for claims: the right records, in the right order, once, as the lifecycle says."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from lq_core.contracts.records import a_claim, a_record, a_swap, a_worker, claimed
from lq_core.foundation.errors import OwnershipLostError
from lq_core.queue import BaseQueueBackend
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import Dependencies, QueuedTaskRecord, TaskStatus


def moment_of(record: QueuedTaskRecord) -> datetime:
    """When the record was started."""
    assert record.started_at is not None
    return record.started_at


class ClaimContract:
    """Claims."""

    async def test_a_claim_does_what_the_lifecycle_says(self, queue: BaseQueueBackend) -> None:
        """The answer is what lifecycle.claim makes of the stored record, and it is what is stored."""
        record = a_record(retries=2, key="one", metadata={"a": "b"})

        (taken,) = await claimed(queue, record)

        assert taken == lifecycle.claim(record, worker_id="ada", at=moment_of(taken))
        assert await queue.get(record.id) == taken

    async def test_a_reservation_does_what_the_lifecycle_says(self, queue: BaseQueueBackend) -> None:
        """A claim to dispatched is what lifecycle.dispatch makes of the stored record."""
        record = a_record(execution_backend="cloud")

        (taken,) = await claimed(queue, record, to=TaskStatus.DISPATCHED, execution_backends=("cloud",))

        assert taken == lifecycle.dispatch(record, at=moment_of(taken))
        assert await queue.get(record.id) == taken

    async def test_a_claim_starts_a_retried_record_afresh(self, queue: BaseQueueBackend) -> None:
        """The second attempt has a new epoch, and nothing of the first one's progress."""
        (first,) = await claimed(queue, a_record())
        waiting = lifecycle.interrupt(first, at=queue.now() - timedelta(seconds=1))
        await queue.swap([a_swap(waiting)])

        (second,) = (await queue.claim(a_claim())).records

        assert second == lifecycle.claim(waiting, worker_id="ada", at=moment_of(second))
        assert second.attempt == 2

    async def test_claims_come_by_priority_then_due_time_then_id(self, queue: BaseQueueBackend) -> None:
        """High priorities first; among equals the one that was due first; then the older id."""
        base = a_record()
        earlier = base.scheduled_at - timedelta(seconds=5)
        urgent = a_record(priority=2, scheduled_at=base.scheduled_at)
        late, later = a_record(scheduled_at=base.scheduled_at), a_record(scheduled_at=base.scheduled_at)
        long_due, low = a_record(scheduled_at=earlier), a_record(priority=-1, scheduled_at=earlier)
        in_order = sorted([base, late, later], key=lambda record: record.id)

        taken = await claimed(queue, low, later, long_due, base, urgent, late)

        assert [record.id for record in taken] == [r.id for r in (urgent, long_due, *in_order, low)]

    async def test_a_retried_record_goes_behind_the_records_that_were_due_before(self, queue: BaseQueueBackend) -> None:
        """A record that fails again and again does not delay the others."""
        (running,) = await claimed(queue, a_record())
        await queue.insert([a_record(priority=0)])
        waiting = lifecycle.interrupt(running, at=queue.now() - timedelta(milliseconds=1))
        await queue.swap([a_swap(waiting)])

        taken = [(await queue.claim(a_claim(limit=1))).records[0].id for _ in range(2)]

        assert taken[1] == running.id

    async def test_the_order_holds_over_several_queues(self, queue: BaseQueueBackend) -> None:
        """One claim serves many queues as if they were one, also when it cannot take everything."""
        records = [a_record(queue=f"q{number % 3}", priority=number) for number in range(9)]
        await queue.register(a_worker())
        await queue.insert(records)

        taken = (await queue.claim(a_claim(limit=5))).records

        assert [record.priority for record in taken] == [8, 7, 6, 5, 4]

    async def test_a_claim_takes_no_more_than_its_limit(self, queue: BaseQueueBackend) -> None:
        """The other records stay for the next claim."""
        await queue.register(a_worker())
        await queue.insert([a_record() for _ in range(5)])

        first = (await queue.claim(a_claim(limit=3))).records
        second = (await queue.claim(a_claim(limit=3))).records

        assert (len(first), len(second)) == (3, 2)
        assert not {record.id for record in first} & {record.id for record in second}

    async def test_a_claim_of_none_takes_none(self, queue: BaseQueueBackend) -> None:
        """A worker without free slots may claim to learn whether it is alive."""
        await queue.register(a_worker())
        await queue.insert([a_record()])

        answer = await queue.claim(a_claim(limit=0))

        assert (answer.records, answer.alive) == ((), True)

    async def test_a_record_before_its_time_is_not_claimed(self, queue: BaseQueueBackend) -> None:
        """Only what is due can be claimed."""
        assert await claimed(queue, a_record(delay=60)) == []

    async def test_only_the_named_queues_are_claimed_from(self, queue: BaseQueueBackend) -> None:
        """A worker of one queue leaves the others alone."""
        mail, film = a_record(queue="mail"), a_record(queue="film")

        taken = await claimed(queue, mail, film, queues=("film", "absent"))

        assert [record.id for record in taken] == [film.id]

    async def test_only_the_named_execution_backends_are_claimed_for(self, queue: BaseQueueBackend) -> None:
        """A worker takes no record that it has no execution backend for."""
        local, cloud = a_record(), a_record(execution_backend="cloud")

        taken = await claimed(queue, local, cloud, execution_backends=("cloud", "absent"))

        assert [record.id for record in taken] == [cloud.id]

    async def test_a_claim_for_no_execution_backend_takes_nothing(self, queue: BaseQueueBackend) -> None:
        """An empty list means none, not all."""
        assert await claimed(queue, a_record(), execution_backends=()) == []

    async def test_a_claim_from_no_queue_takes_nothing(self, queue: BaseQueueBackend) -> None:
        """An empty list means none, not all."""
        assert await claimed(queue, a_record(), queues=()) == []

    async def test_an_overdue_record_is_not_claimed(self, queue: BaseQueueBackend) -> None:
        """A claim leaves an overdue record to the sweep that expires it."""
        past = queue.now() - timedelta(seconds=5)
        overdue, fine = a_record(priority=5, expires_at=past), a_record()

        taken = await claimed(queue, overdue, fine)

        assert [record.id for record in taken] == [fine.id]

    async def test_an_unregistered_worker_takes_nothing_and_learns_it(self, queue: BaseQueueBackend) -> None:
        """No worker would rescue its records."""
        record = a_record()
        await queue.insert([record])

        answer = await queue.claim(a_claim("stranger"))

        assert (answer.records, answer.alive) == ((), False)
        assert await queue.get(record.id) == record

    async def test_one_record_is_claimed_by_id_and_epoch(self, queue: BaseQueueBackend) -> None:
        """A container starts the record that was reserved for it."""
        (reserved,) = await claimed(queue, a_record(), to=TaskStatus.DISPATCHED)

        started = await queue.claim_one(reserved.id, reserved.epoch, worker_id="container")

        assert started == lifecycle.claim(reserved, worker_id="container", at=moment_of(started))
        assert await queue.get(reserved.id) == started

    async def test_an_overdue_record_is_not_claimed_by_its_id_either(self, queue: BaseQueueBackend) -> None:
        """The sweep expires it."""
        overdue = a_record(expires_at=queue.now() - timedelta(seconds=5))
        await queue.insert([overdue])

        with pytest.raises(OwnershipLostError):
            await queue.claim_one(overdue.id, overdue.epoch, worker_id="ada")
        assert await queue.get(overdue.id) == overdue

    async def test_a_blocked_record_is_not_claimed_by_its_id_either(self, queue: BaseQueueBackend) -> None:
        """Its predecessor has not ended."""
        blocked = a_record(after=Dependencies(ids=(new_id(),)), blocked=True)
        await queue.insert([blocked])

        with pytest.raises(OwnershipLostError):
            await queue.claim_one(blocked.id, blocked.epoch, worker_id="ada")
        assert await queue.get(blocked.id) == blocked

    async def test_a_record_that_came_back_while_asked_to_stop_is_not_claimed_by_its_id_either(
        self, queue: BaseQueueBackend
    ) -> None:
        """The sweep cancels it."""
        (running,) = await claimed(queue, a_record())
        await queue.request_cancel(running.id, running.epoch)
        await queue.swap([a_swap(lifecycle.interrupt(running, at=queue.now()))])

        with pytest.raises(OwnershipLostError):
            await queue.claim_one(running.id, running.epoch + 1, worker_id="ada")

    async def test_paused_queues_are_not_claimed_from(self, queue: BaseQueueBackend) -> None:
        """The others go on."""
        await queue.change_queue("mail", paused=True)

        taken = await claimed(queue, a_record(queue="mail"), a_record(queue="film"))

        assert [record.queue for record in taken] == ["film"]
        assert {name: state.paused for name, state in (await queue.queues()).items()} == {"mail": True}

    async def test_a_resumed_queue_is_claimed_from_again(self, queue: BaseQueueBackend) -> None:
        """Nothing is lost by a pause."""
        await queue.change_queue("mail", paused=True)
        assert await claimed(queue, a_record(queue="mail")) == []

        await queue.change_queue("mail", paused=False)

        assert len((await queue.claim(a_claim())).records) == 1

    async def test_a_record_put_back_for_another_backend_is_claimed_there(self, queue: BaseQueueBackend) -> None:
        """A rerouted record changes the partition."""
        (reserved,) = await claimed(
            queue, a_record(execution_backend="cloud"), to=TaskStatus.DISPATCHED, execution_backends=("cloud",)
        )
        at = queue.now() - timedelta(seconds=1)
        rerouted = lifecycle.reroute(reserved, execution_backend="local", at=at, message="no quota")
        await queue.swap([a_swap(rerouted)])

        (taken,) = (await queue.claim(a_claim())).records

        assert taken == lifecycle.claim(rerouted, worker_id="ada", at=moment_of(taken))

    async def test_a_record_that_returns_as_due_can_be_claimed(self, queue: BaseQueueBackend) -> None:
        """In the same round trip or in the next one."""
        (running,) = await claimed(queue, a_record())
        waiting = lifecycle.interrupt(running, at=queue.now() - timedelta(seconds=1))

        _, answer = await queue.settle_and_claim([a_swap(waiting)], a_claim())
        _, next_answer = await queue.settle_and_claim([], a_claim())

        (taken,) = (*answer.records, *next_answer.records)
        assert replace(taken, started_at=None) == replace(
            lifecycle.claim(waiting, worker_id="ada", at=moment_of(taken)), started_at=None
        )
