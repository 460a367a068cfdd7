"""The contract of queue backends for keys: how long a record holds one, and how a holder is amended."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from lq_core.contracts.records import a_claim, a_record, a_swap, claimed
from lq_core.queue import BaseQueueBackend, Insertion, Proposal, Swap
from lq_core.records import lifecycle
from lq_core.records.record import KeyScope, QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.tasks.options import OnConflict


def within_window(seconds: float, *, key: str = "one") -> QueuedTaskRecord:
    """Make a record that holds a key for some seconds from now."""
    record = a_record(key=key, key_scope=KeyScope.WINDOW)
    return replace(record, key_until=record.created_at + timedelta(seconds=seconds + 1))


def overdue() -> QueuedTaskRecord:
    """Make an overdue record that holds a key."""
    record = a_record(key="one")
    return replace(record, expires_at=record.created_at - timedelta(seconds=5))


def replacing(record: QueuedTaskRecord) -> Proposal:
    """Propose a record that amends the holder."""
    return Proposal(record, OnConflict.REPLACE)


def debouncing(record: QueuedTaskRecord) -> Proposal:
    """Propose a record that amends the holder and reschedules it."""
    return Proposal(record, OnConflict.DEBOUNCE)


class KeyContract:
    """Scopes, windows and amendments."""

    @pytest.mark.parametrize("to", [TaskStatus.RUNNING, TaskStatus.DISPATCHED])
    async def test_a_key_held_until_the_start_is_free_from_then_on(
        self, queue: BaseQueueBackend, to: TaskStatus
    ) -> None:
        """A started record releases the key."""
        (started,) = await claimed(queue, a_record(key="one", key_scope=KeyScope.STARTED), to=to)
        successor = a_record(key="one", key_scope=KeyScope.STARTED)

        insertions = await queue.insert([successor])

        assert insertions == [Insertion(successor, created=True)]
        assert started.key_released
        assert await queue.get(started.id) == started

    async def test_a_key_held_until_the_start_is_held_by_one_that_waits(self, queue: BaseQueueBackend) -> None:
        """At most one record that has not started holds the key."""
        first = a_record(key="one", key_scope=KeyScope.STARTED)
        await queue.insert([first])

        assert await queue.insert([a_record(key="one")]) == [Insertion(first, created=False)]

    async def test_a_record_that_is_tried_again_does_not_take_its_key_back(self, queue: BaseQueueBackend) -> None:
        """Its successor may hold the key by then."""
        (started,) = await claimed(queue, a_record(key="one", key_scope=KeyScope.STARTED, retries=1))
        successor = a_record(key="one", delay=60)
        await queue.insert([successor])
        failure = TaskFailure(type="ValueError", message="no")
        retried = lifecycle.retry_or_fail(started, failure=failure, delay=60, at=queue.now())

        assert await queue.swap([a_swap(retried)]) == [True]
        assert await queue.get(started.id) == retried
        assert await queue.insert([a_record(key="one")]) == [Insertion(successor, created=False)]

    @pytest.mark.parametrize("to", [TaskStatus.RUNNING, TaskStatus.DISPATCHED])
    async def test_a_record_that_is_asked_to_stop_releases_its_key(
        self, queue: BaseQueueBackend, to: TaskStatus
    ) -> None:
        """A new record with the key would otherwise be lost with it."""
        (started,) = await claimed(queue, a_record(key="one"), to=to)
        successor = a_record(key="one")

        await queue.request_cancel(started.id, started.epoch)

        assert await queue.insert([successor]) == [Insertion(successor, created=True)]
        asked = lifecycle.request_cancel(started)
        assert await queue.get(started.id) == asked
        assert asked.key_released
        await queue.swap([a_swap(lifecycle.cancel(asked, at=queue.now()))])
        assert await queue.insert([a_record(key="one")]) == [Insertion(successor, created=False)]

    async def test_a_record_that_is_asked_to_stop_holds_the_key_of_its_window(self, queue: BaseQueueBackend) -> None:
        """A window lasts whatever happens to the record."""
        (running,) = await claimed(queue, within_window(3600))

        await queue.request_cancel(running.id, running.epoch)

        asked = lifecycle.request_cancel(running)
        assert await queue.insert([a_record(key="one")]) == [Insertion(asked, created=False)]

    async def test_a_key_of_a_window_is_held_when_the_record_has_ended(self, queue: BaseQueueBackend) -> None:
        """Every status of the holder counts."""
        (running,) = await claimed(queue, within_window(3600))
        completed = lifecycle.complete(running, result="1", at=queue.now())
        await queue.swap([a_swap(completed)])

        assert await queue.insert([a_record(key="one")]) == [Insertion(completed, created=False)]
        assert await queue.get(running.id) == completed

    async def test_a_key_is_taken_over_when_its_window_has_ended(self, queue: BaseQueueBackend) -> None:
        """Also when the record still waits; it goes on without the key."""
        old, new = within_window(-1), a_record(key="one")
        await queue.insert([old])

        insertions = await queue.insert([new, a_record(key="one")])

        assert insertions == [Insertion(new, created=True), Insertion(new, created=False)]
        assert await queue.get(old.id) == lifecycle.release_key(old)

    async def test_a_key_is_taken_over_when_its_holder_is_overdue(self, queue: BaseQueueBackend) -> None:
        """No worker will start the holder; it stays pending until it expires."""
        old, new = overdue(), a_record(key="one")
        await queue.insert([old])

        insertions = await queue.insert([new, a_record(key="one")])

        assert insertions == [Insertion(new, created=True), Insertion(new, created=False)]
        assert await queue.get(old.id) == lifecycle.release_key(old)
        assert await queue.overdue(limit=100) == [lifecycle.release_key(old)]

    @pytest.mark.parametrize("policy", OnConflict)
    async def test_a_holder_that_was_not_started_in_time_is_not_amended(
        self, queue: BaseQueueBackend, policy: OnConflict
    ) -> None:
        """Whatever is proposed, a record is created."""
        old, new = overdue(), a_record(key="one")
        await queue.insert([old])

        assert await queue.propose([Proposal(new, policy)]) == [Insertion(new, created=True)]
        assert await queue.get(old.id) == lifecycle.release_key(old)

    async def test_a_holder_whose_key_was_taken_meanwhile_is_not_amended(self, queue: BaseQueueBackend) -> None:
        """The proposal saw the holder; another record takes the key before the amendment."""
        old = overdue()
        await queue.insert([old])
        amended = lifecycle.amend(old, to=a_record(key="one", delay=60), reschedule=True)
        await queue.insert([a_record(key="one")])

        assert await queue.amend_many([a_swap(amended)]) == [False]
        assert await queue.get(old.id) == lifecycle.release_key(old)

    @pytest.mark.parametrize("policy", OnConflict)
    async def test_a_key_of_a_window_is_held_when_the_record_was_not_started_in_time(
        self, queue: BaseQueueBackend, policy: OnConflict
    ) -> None:
        """As it is when the record has expired."""
        held = replace(within_window(3600), expires_at=queue.now() - timedelta(seconds=5))
        await queue.insert([held])

        assert await queue.propose([Proposal(a_record(key="one"), policy)]) == [Insertion(held, created=False)]
        assert await queue.get(held.id) == held

    async def test_an_owner_that_does_not_know_does_not_take_the_key_back(self, queue: BaseQueueBackend) -> None:
        """The window ends while the record runs, and another record takes the key."""
        (running,) = await claimed(queue, within_window(-1))
        await queue.insert([a_record(key="one")])
        interrupted = lifecycle.interrupt(running, at=queue.now())

        assert await queue.swap([a_swap(interrupted)]) == [True]
        assert await queue.get(running.id) == lifecycle.release_key(interrupted)

    async def test_many_callers_after_the_window_get_one_record(self, queue: BaseQueueBackend) -> None:
        """There are never two holders."""
        await queue.insert([within_window(-1)])

        answers = await asyncio.gather(*[queue.insert([a_record(key="one")]) for _ in range(20)])

        assert sum(answer[0].created for answer in answers) == 1
        assert len({answer[0].record.id for answer in answers}) == 1

    async def test_retention_keeps_a_record_that_holds_a_key(self, queue: BaseQueueBackend) -> None:
        """It goes once the window is over."""
        past = queue.now() - timedelta(days=2)
        (holds,) = await claimed(queue, within_window(3600))
        (lapsed,) = await claimed(queue, within_window(-1, key="two"))
        ended = [lifecycle.complete(record, result="1", at=past) for record in (holds, lapsed)]
        await queue.swap([a_swap(record) for record in ended])

        deleted = await queue.delete_ended(status=TaskStatus.COMPLETED, before=queue.now(), limit=100)

        assert deleted == 1
        assert await queue.get_many([holds.id, lapsed.id]) == [ended[0]]
        assert await queue.delete_ended(status=TaskStatus.COMPLETED, before=queue.now(), limit=100) == 0

    async def test_an_amendment_writes_only_the_amended_fields(self, queue: BaseQueueBackend) -> None:
        """It is what the lifecycle says."""
        held = a_record(key="one", delay=60, retries=3, queue="mail", metadata={"a": "b"})
        wanted = a_record(key="one", arguments='{"a":"ü"}', priority=7, delay=5, expires_at=queue.now(), queue="film")
        await queue.insert([held])

        replaced = lifecycle.amend(held, to=wanted, reschedule=False)
        assert await queue.amend_many([a_swap(replaced)]) == [True]
        assert await queue.get(held.id) == replaced

        debounced = lifecycle.amend(replaced, to=wanted, reschedule=True)
        assert await queue.amend_many([a_swap(debounced)]) == [True]
        assert await queue.get(held.id) == debounced

    async def test_a_record_that_has_given_up_its_key_before_is_amended(self, queue: BaseQueueBackend) -> None:
        """What counts is a release after the record was read."""
        [record] = await claimed(queue, a_record(key="one", key_scope=KeyScope.STARTED))
        await queue.swap([a_swap(waiting := lifecycle.interrupt(record, at=queue.now()))])

        amended = lifecycle.amend(waiting, to=replace(waiting, priority=3), reschedule=False)

        assert await queue.amend_many([a_swap(amended)]) == [True]
        assert await queue.get(record.id) == amended

    async def test_an_amendment_of_another_epoch_is_refused(self, queue: BaseQueueBackend) -> None:
        """A started record is not amended."""
        record = a_record(key="one")
        (running,) = await claimed(queue, record)
        late = lifecycle.amend(record, to=a_record(arguments='{"a":1}'), reschedule=True)

        assert await queue.amend_many([a_swap(late), Swap(record=late, epoch=9)]) == [False, False]
        assert await queue.get(record.id) == running

    async def test_an_amended_record_is_claimed_at_its_new_time(self, queue: BaseQueueBackend) -> None:
        """An earlier time makes it due at once; a later one does not."""
        later, sooner = a_record(key="one", delay=60), a_record(key="two")
        put_off = replace(a_record(delay=90), key="two")
        assert [record.id for record in await claimed(queue, later)] == []
        await queue.insert([sooner])

        await queue.propose([debouncing(a_record(key="one")), debouncing(put_off)])

        assert [record.id for record in (await queue.claim(a_claim())).records] == [later.id]
        assert await queue.next_due(a_claim()) == put_off.scheduled_at

    async def test_a_proposal_gets_a_new_record_or_the_amended_holder(self, queue: BaseQueueBackend) -> None:
        """The answers are in order; a proposal that does not replace gets the holder."""
        first, other = a_record(key="one", delay=60), a_record()
        wanted = a_record(key="one", arguments='{"a":1}')

        answers = await queue.propose([replacing(first), replacing(wanted), Proposal(other)])

        amended = lifecycle.amend(first, to=wanted, reschedule=False)
        assert list(answers) == [
            Insertion(first, created=True),
            Insertion(amended, created=False, replaced=True),
            Insertion(other, created=True),
        ]
        assert await queue.propose([Proposal(a_record(key="one"))]) == [Insertion(amended, created=False)]
        assert await queue.get(first.id) == amended

    async def test_a_holder_that_has_been_started_is_not_amended(self, queue: BaseQueueBackend) -> None:
        """The answer is the holder as it is."""
        (running,) = await claimed(queue, a_record(key="one"))

        answers = await queue.propose([replacing(a_record(key="one"))])

        assert answers == [Insertion(running, created=False)]
        assert await queue.get(running.id) == running

    @pytest.mark.parametrize("propose", [replacing, debouncing])
    async def test_a_holder_of_another_task_is_not_amended(
        self, queue: BaseQueueBackend, propose: Callable[[QueuedTaskRecord], Proposal]
    ) -> None:
        """The arguments belong to one task."""
        held = a_record(key="one", delay=60)
        await queue.insert([held])

        answers = await queue.propose([propose(a_record(key="one", task_name="test.other"))])

        assert answers == [Insertion(held, created=False)]
        assert await queue.get(held.id) == held

    async def test_of_many_debounces_the_last_one_counts(self, queue: BaseQueueBackend) -> None:
        """One record, with the newest arguments and time."""
        wanted = [a_record(key="one", arguments=f'{{"a":{number}}}', delay=number) for number in range(100)]

        async with asyncio.timeout(20):
            answers = await asyncio.gather(*[queue.propose([debouncing(record)]) for record in wanted])

        (found,) = await queue.get_many([answers[0][0].record.id])
        assert [answer[0].replaced for answer in answers] == [False, *[True] * 99]
        assert (found.arguments, found.scheduled_at) == (wanted[-1].arguments, wanted[-1].scheduled_at)
