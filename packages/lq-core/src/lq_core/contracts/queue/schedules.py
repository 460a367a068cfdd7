"""The contract of queue backends for schedules: one state each, which changes together with its records."""

import asyncio

from msgspec.structs import replace

from lq_core.contracts.records import a_claim, a_record, a_swap, a_worker, claimed
from lq_core.queue import BaseQueueBackend
from lq_core.records import lifecycle
from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule_state import ScheduleState


def a_state(queue: BaseQueueBackend, name: str = "nightly", **changes: object) -> ScheduleState:
    """Make the first version of a state."""
    plan = Plan(cron="0 3 * * *", timezone="Europe/Berlin")
    at = queue.now()
    return replace(ScheduleState(name=name, task_name="test.task", plan=plan, handled_until=at, seen_at=at), **changes)


def changed(state: ScheduleState, **changes: object) -> ScheduleState:
    """Make the version after it."""
    return replace(state, version=state.version + 1, **changes)


class ScheduleContract:
    """States of schedules, and the records that come with a change."""

    async def test_a_state_comes_back_as_it_was_saved(self, queue: BaseQueueBackend) -> None:
        """Every field survives, and every moment to the microsecond."""
        at = queue.now()
        full = a_state(queue, "Früh 🌅", paused=True, retired=True, last_due=at, plan=Plan(every=1.5))
        plain = a_state(queue, "nightly")

        assert await queue.save_schedule(full)
        assert await queue.save_schedule(plain)

        assert {state.name: state for state in await queue.schedules()} == {full.name: full, plain.name: plain}

    async def test_one_state_is_read_by_its_name(self, queue: BaseQueueBackend) -> None:
        """Without the others; a name that nobody has declared has none."""
        nightly = a_state(queue, "nightly")
        assert await queue.save_schedule(nightly)
        assert await queue.save_schedule(a_state(queue, "hourly"))

        assert await queue.schedule("nightly") == nightly
        assert await queue.schedule("weekly") is None

    async def test_a_state_is_known_once(self, queue: BaseQueueBackend) -> None:
        """Of two that would be the first, the second is refused."""
        first, second = a_state(queue), a_state(queue, paused=True)

        assert await queue.save_schedule(first)
        assert not await queue.save_schedule(second)

        assert list(await queue.schedules()) == [first]

    async def test_a_change_from_an_old_version_is_refused(self, queue: BaseQueueBackend) -> None:
        """A caller changes only the version that it has read."""
        state = a_state(queue)
        await queue.save_schedule(state)
        paused, retired = changed(state, paused=True), changed(state, retired=True)

        assert await queue.save_schedule(paused)
        assert not await queue.save_schedule(retired)

        assert list(await queue.schedules()) == [paused]

    async def test_a_change_of_an_unknown_schedule_is_refused(self, queue: BaseQueueBackend) -> None:
        """There is no version before it."""
        assert not await queue.save_schedule(changed(a_state(queue)), [a_record()])

        assert list(await queue.schedules()) == []
        assert (await queue.statistics()).counts == {}

    async def test_the_records_of_a_change_are_stored_with_it(self, queue: BaseQueueBackend) -> None:
        """They can be claimed, and say which schedule they are of."""
        first, second = a_record(schedule="nightly"), a_record(schedule="nightly", history=())
        await queue.register(a_worker())

        assert await queue.save_schedule(a_state(queue), [first, second])

        taken = (await queue.claim(a_claim())).records
        assert [(record.id, record.schedule) for record in taken] == [(first.id, "nightly"), (second.id, "nightly")]

    async def test_the_records_of_a_refused_change_are_not_stored(self, queue: BaseQueueBackend) -> None:
        """Both, or neither."""
        state, record = a_state(queue), a_record()
        await queue.save_schedule(state)

        assert not await queue.save_schedule(state, [record])

        assert await queue.get(record.id) is None

    async def test_a_record_that_is_there_already_is_passed_over(self, queue: BaseQueueBackend) -> None:
        """A due time has one record, whatever has become of it, and of the state."""
        (running,) = await claimed(queue, a_record())
        ended = lifecycle.complete(running, result="1", at=queue.now())
        await queue.swap([a_swap(ended)])
        new = a_record()

        assert await queue.save_schedule(a_state(queue), [a_record(id=ended.id), new])

        assert await queue.get(ended.id) == ended
        assert await queue.get(new.id) == new

    async def test_a_record_whose_key_is_held_is_skipped(self, queue: BaseQueueBackend) -> None:
        """The one before has not ended."""
        holder, second, other = a_record(key="report"), a_record(key="report"), a_record()
        await queue.insert([holder])

        assert await queue.save_schedule(a_state(queue), [second, other])

        assert {record.id for record in await queue.get_many([holder.id, second.id, other.id])} == {holder.id, other.id}

    async def test_only_one_of_many_writers_saves_a_version(self, queue: BaseQueueBackend) -> None:
        """So the due times of a schedule are handled once, by any number of workers."""
        state = a_state(queue)
        await queue.save_schedule(state)
        records = [a_record() for _ in range(20)]

        saved = await asyncio.gather(*[queue.save_schedule(changed(state), [record]) for record in records])

        stored = await queue.get_many([record.id for record in records])
        assert sum(saved) == 1
        assert [record.id for record in stored] == [records[saved.index(True)].id]

    async def test_records_that_are_saved_with_a_schedule_wake_waiting_workers(self, queue: BaseQueueBackend) -> None:
        """Without waiting for the next look."""
        waiting = asyncio.create_task(queue.wait_for_work(queue.changes, timeout=60))

        await queue.save_schedule(a_state(queue), [a_record()])

        async with asyncio.timeout(10):
            await waiting
