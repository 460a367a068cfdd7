"""The contract of queue backends for searches by text, by values and in bounds."""

from datetime import timedelta
from uuid import UUID

from msgspec.structs import replace

from lq_core.contracts.records import a_record, a_swap, claimed
from lq_core.queue import BaseQueueBackend, RecordFilter
from lq_core.records import lifecycle
from lq_core.records.record import TaskFailure

FINDING_ONE = (
    RecordFilter(text="mail.send"),
    RecordFilter(text="Ada"),
    RecordFilter(text='the "first"'),
    RecordFilter(text="für"),
    RecordFilter(text="acme"),
    RecordFilter(text="no such host"),
    RecordFilter(values={"arguments.order_id": "17"}),
    RecordFilter(values={"arguments.name": "Ada"}),
    RecordFilter(values={"arguments.urgent": "true"}),
    RecordFilter(values={"arguments.street": "für"}),
    RecordFilter(values={"metadata.tenant": "acme", "arguments.order_id": "17"}),
    RecordFilter(error_type="OSError"),
    RecordFilter(error_text="no such host"),
    RecordFilter(error_text="in the traceback"),
    RecordFilter(worker_id="ada"),
    RecordFilter(text="Ada", error_type="OSError", queues=("default",), key="one"),
)
"""Conditions that one record of the test meets, and two others that are much like it do not."""


class SearchContract:
    """Conditions that have no index."""

    async def test_words_and_values_narrow_the_search(self, queue: BaseQueueBackend) -> None:
        """A fragment is looked for as it is; a value by its name, at any depth, as text or as a number."""
        arguments = '{"name":"Ada","note":"the \\"first\\"","order_id":17,"to":{"street":"für","urgent":true}}'
        metadata = {"tenant": "acme"}
        record = a_record(priority=9, task_name="mail.send", arguments=arguments, metadata=metadata, key="one")
        near = '{"name":"ada","order_id":170,"to":{"street":"f","urgent":false},"text":"\\"order_id\\":17,"}'
        await queue.insert([a_record(arguments=near, metadata={"tenant": "acm", "other": "x"}), a_record()])
        (running,) = await claimed(queue, record)
        failure = TaskFailure(type="OSError", message="no such host", traceback="in the traceback")
        wanted = lifecycle.retry_or_fail(running, failure=failure, delay=None, at=queue.now())
        assert await queue.swap([a_swap(wanted)]) == [True]

        for condition in FINDING_ONE:
            assert list(await queue.find(condition)) == [wanted], condition
            assert list(await queue.find(condition, after=UUID(int=0))) == [wanted], condition
            assert await queue.count(condition) == 1, condition

    async def test_a_search_by_the_end_finds_what_has_ended(self, queue: BaseQueueBackend) -> None:
        """Neither bound includes the moment itself, and a record that has not ended is in no range."""
        taken = await claimed(queue, *[a_record() for _ in range(3)])
        at = queue.now()
        ended = [
            lifecycle.complete(record, result="1", at=at + timedelta(seconds=number))
            for number, record in enumerate(taken)
        ]
        await queue.swap([a_swap(record) for record in ended])
        await queue.insert([a_record()])
        condition = RecordFilter(finished_after=ended[0].finished_at, finished_before=ended[2].finished_at)

        assert list(await queue.find(condition)) == [ended[1]]
        assert await queue.count(replace(condition, finished_before=None)) == 2

    async def test_a_search_looks_at_the_newest_alone(self, queue: BaseQueueBackend) -> None:
        """The newest of all records, whether they match or not, in both directions and on every page."""
        records = sorted((a_record(queue="mail") for _ in range(4)), key=lambda record: record.id)
        await queue.insert([*records, a_record()])
        condition = RecordFilter(queues=("mail",), newest=3)

        assert list(await queue.find(condition)) == [records[3], records[2]]
        assert list(await queue.find(condition, after=UUID(int=0))) == [records[2], records[3]]
        assert list(await queue.find(condition, before=records[3].id)) == [records[2]]
        assert await queue.count(condition) == 2
        assert await queue.count(replace(condition, newest=100)) == 4
