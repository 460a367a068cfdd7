"""The contract of queue backends for reads: single records, pages and numbers."""

from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from lq_core.contracts.records import a_record, a_swap, claimed
from lq_core.queue import BaseQueueBackend, DueRecords, RecordFilter, Statistics
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import TaskStatus


class ReadingContract:
    """Get, find and statistics."""

    async def test_external_executions_are_found_by_what_they_have(self, queue: BaseQueueBackend) -> None:
        """A record that is dispatched, or has an execution reference; whatever the name of its execution backend."""
        (mine,) = await claimed(queue, a_record())
        (dispatched,) = await claimed(queue, a_record(), to=TaskStatus.DISPATCHED)
        (taken,) = await claimed(queue, a_record(), to=TaskStatus.DISPATCHED)
        started = lifecycle.claim(taken, worker_id="container", at=queue.now())
        started = lifecycle.attach(started, execution_ref="jobs/shop/executions/1")
        await queue.swap([a_swap(started)])
        owned = RecordFilter(statuses=(TaskStatus.DISPATCHED, TaskStatus.RUNNING))

        assert list(await queue.find(replace(owned, external=True))) == [started, dispatched]
        assert await queue.count(replace(owned, external=True)) == 2
        assert list(await queue.find(owned)) == [started, dispatched, mine]

    async def test_records_are_read_by_id(self, queue: BaseQueueBackend) -> None:
        """Returns the records that exist, each once."""
        first, second = a_record(), a_record()
        await queue.insert([first, second])

        found = await queue.get_many([second.id, new_id(), first.id, second.id])

        assert sorted(found, key=lambda record: record.id) == sorted([first, second], key=lambda record: record.id)
        assert list(await queue.get_many([])) == []

    async def test_find_reads_the_newest_first(self, queue: BaseQueueBackend) -> None:
        """The order is that of the ids."""
        records = sorted((a_record() for _ in range(5)), key=lambda record: record.id, reverse=True)
        await queue.insert(records)

        assert list(await queue.find(RecordFilter())) == records

    async def test_pages_backward_bring_every_record_once(self, queue: BaseQueueBackend) -> None:
        """Each page begins before the last record of the one before."""
        records = sorted((a_record() for _ in range(5)), key=lambda record: record.id, reverse=True)
        await queue.insert(records)

        first = await queue.find(RecordFilter(), limit=2)
        second = await queue.find(RecordFilter(), limit=2, before=first[-1].id)
        third = await queue.find(RecordFilter(), limit=2, before=second[-1].id)

        assert [*first, *second, *third] == records
        assert list(await queue.find(RecordFilter(), limit=2, before=third[-1].id)) == []

    async def test_pages_forward_bring_every_record_once(self, queue: BaseQueueBackend) -> None:
        """From the zero id on, oldest first."""
        records = sorted((a_record() for _ in range(5)), key=lambda record: record.id)
        await queue.insert(records)

        first = await queue.find(RecordFilter(), limit=3, after=UUID(int=0))
        second = await queue.find(RecordFilter(), limit=3, after=first[-1].id)

        assert [*first, *second] == records

    @pytest.mark.parametrize(
        "condition",
        [
            RecordFilter(statuses=(TaskStatus.RUNNING,)),
            RecordFilter(statuses=(TaskStatus.RUNNING, TaskStatus.FAILED)),
            RecordFilter(queues=("mail",)),
            RecordFilter(task_names=("mail.send", "absent")),
            RecordFilter(execution_backends=("cloud",)),
            RecordFilter(key="one"),
            RecordFilter(schedule="nightly"),
            RecordFilter(statuses=(TaskStatus.RUNNING,), queues=("mail",), key="one"),
        ],
        ids=repr,
    )
    async def test_each_condition_narrows_the_search(self, queue: BaseQueueBackend, condition: RecordFilter) -> None:
        """Only the record that matches is found, in both directions."""
        record = a_record(
            queue="mail", task_name="mail.send", execution_backend="cloud", key="one", schedule="nightly", priority=1
        )
        others = [a_record(), a_record(queue="film", schedule="weekly", key="two"), a_record(status=TaskStatus.PENDING)]
        await queue.insert(others)
        (wanted,) = await claimed(queue, record, execution_backends=("cloud",))

        assert list(await queue.find(condition)) == [wanted]
        assert list(await queue.find(condition, after=UUID(int=0))) == [wanted]

    async def test_a_search_by_time_leaves_out_both_ends(self, queue: BaseQueueBackend) -> None:
        """Neither bound includes the moment itself."""
        at = queue.now()
        records = [a_record(created_at=at + timedelta(seconds=number)) for number in range(4)]
        await queue.insert(records)

        found = await queue.find(
            RecordFilter(created_after=records[0].created_at, created_before=records[3].created_at)
        )

        assert {record.id for record in found} == {records[1].id, records[2].id}

    async def test_an_empty_condition_matches_nothing(self, queue: BaseQueueBackend) -> None:
        """An empty list means none, not all."""
        await queue.insert([a_record()])

        assert list(await queue.find(RecordFilter(statuses=()))) == []
        assert list(await queue.find(RecordFilter(queues=()))) == []

    async def test_a_key_is_found_after_it_has_been_released(self, queue: BaseQueueBackend) -> None:
        """Every record that was enqueued with the key, held or not, page by page."""
        first = a_record(key="one")
        (running,) = await claimed(queue, first)
        await queue.swap([a_swap(lifecycle.complete(running, result="1", at=queue.now()))])
        second = a_record(key="one")
        await queue.insert([second])
        older, newer = sorted([first.id, second.id])

        assert [record.id for record in await queue.find(RecordFilter(key="one"))] == [newer, older]
        assert [record.id for record in await queue.find(RecordFilter(key="one"), limit=1, before=newer)] == [older]

    async def test_owned_records_are_found_in_pages(self, queue: BaseQueueBackend) -> None:
        """As the reconciler does it."""
        taken = await claimed(queue, *[a_record() for _ in range(3)], to=TaskStatus.DISPATCHED)
        ids = sorted(record.id for record in taken)
        condition = RecordFilter(statuses=(TaskStatus.DISPATCHED,))

        first = await queue.find(condition, limit=2, after=UUID(int=0))
        second = await queue.find(condition, limit=2, after=first[-1].id)

        assert [record.id for record in (*first, *second)] == ids
        assert [record.id for record in await queue.find(condition, limit=2)] == ids[:0:-1]

    async def test_statistics_of_an_empty_queue(self, queue: BaseQueueBackend) -> None:
        """The counts are empty, and no record is due."""
        assert await queue.statistics() == Statistics(counts={})

    async def test_statistics_count_by_queue_and_status(self, queue: BaseQueueBackend) -> None:
        """Each record counts once; zeros are left out."""
        running, ended, cancelled = await claimed(queue, a_record(), a_record(), a_record())
        await queue.swap(
            [
                a_swap(lifecycle.complete(ended, result="1", at=queue.now())),
                a_swap(lifecycle.cancel(cancelled, at=queue.now())),
            ]
        )
        due = a_record(queue="mail")
        await queue.insert([due, a_record(queue="mail", delay=60)])

        assert await queue.statistics() == Statistics(
            counts={
                running.queue: {TaskStatus.RUNNING: 1, TaskStatus.COMPLETED: 1, TaskStatus.CANCELLED: 1},
                "mail": {TaskStatus.PENDING: 2},
            },
            due={"mail": DueRecords(1, due.scheduled_at)},
        )

    async def test_the_oldest_due_record_counts_whatever_its_priority(self, queue: BaseQueueBackend) -> None:
        """It is the one that has waited longest."""
        oldest = a_record(priority=-1, scheduled_at=queue.now() - timedelta(hours=1))
        await queue.insert([a_record(priority=5), oldest, a_record(delay=60)])

        assert (await queue.statistics()).oldest_due == oldest.scheduled_at

    async def test_due_records_are_counted_by_queue_over_all_execution_backends(self, queue: BaseQueueBackend) -> None:
        """Records that wait for their time, or are overdue, do not count."""
        at = queue.now()
        oldest = a_record(queue="mail", execution_backend="cloudrun", scheduled_at=at - timedelta(hours=1))
        overdue = a_record(queue="mail", scheduled_at=at - timedelta(hours=2), expires_at=at - timedelta(hours=1))
        other = a_record(queue="reports")
        await queue.insert([a_record(queue="mail"), oldest, a_record(queue="mail", delay=60), overdue, other])

        assert (await queue.statistics()).due == {
            "mail": DueRecords(2, oldest.scheduled_at),
            "reports": DueRecords(1, other.scheduled_at),
        }

    @pytest.mark.parametrize(
        "condition, number",
        [
            (RecordFilter(), 5),
            (RecordFilter(statuses=(TaskStatus.PENDING,)), 4),
            (RecordFilter(statuses=(TaskStatus.PENDING, TaskStatus.COMPLETED), queues=("mail",)), 3),
            (RecordFilter(task_names=("mail.send",)), 1),
            (RecordFilter(key="one"), 1),
            (RecordFilter(statuses=()), 0),
        ],
        ids=repr,
    )
    async def test_records_are_counted_by_the_conditions_of_a_search(
        self, queue: BaseQueueBackend, condition: RecordFilter, number: int
    ) -> None:
        """Every record that a search would find, on all its pages."""
        (running,) = await claimed(queue, a_record(queue="mail"))
        await queue.swap([a_swap(lifecycle.complete(running, result="1", at=queue.now()))])
        await queue.insert([a_record(queue="mail", key="one"), a_record(queue="mail"), a_record(delay=60)])
        await queue.insert([a_record(task_name="mail.send")])

        assert await queue.count(condition) == number
