"""The contract of queue backends for records that are stored: the same value back, and one holder for each key."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from msgspec.structs import replace

from lq_core.contracts.records import a_record, a_swap, claimed
from lq_core.foundation.errors import QueueError
from lq_core.queue import BaseQueueBackend, Insertion
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import (
    AfterFailure,
    Backoff,
    Dependencies,
    HistoryEntry,
    KeyScope,
    Limits,
    Progress,
    RateLimit,
    RetryRules,
    TaskFailure,
    TaskStatus,
)

MOMENT: Final = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC)
UNUSUAL: Final[Mapping[str, object]] = dict(  # noqa: C408 -- these are fields of a record, written as where one is made
    task_name="mail.send",
    arguments='{"name":"Zoë \\u0001 🐢","amount":"0.10"}',
    queue="mail",
    priority=-7,
    execution_backend="cloud",
    execution_profile="large",
    key="welcome:1",
    key_released=True,
    retries=3,
    backoff=Backoff(base=1.5, jitter=0.0),
    retry_rules=RetryRules(only=("builtins.OSError",), never=("builtins.KeyError",), wait="shop:patience"),
    key_scope=KeyScope.WINDOW,
    key_until=MOMENT + timedelta(hours=1, microseconds=1),
    concurrency_key="tenant:1",
    limits=Limits(concurrency=2, rate=RateLimit(count=10, per=60.0, burst=3)),
    after=Dependencies(ids=(new_id(), new_id()), on_failure=AfterFailure.RUN),
    blocked=True,
    timeout=2.5,
    expires_at=MOMENT + timedelta(days=40_000, microseconds=1),
    schedule="nightly",
    metadata={"traceparent": "00-ab-cd-01", "empty": ""},
    created_at=MOMENT,
    scheduled_at=MOMENT + timedelta(days=30_000),
    status=TaskStatus.EXPIRED,
    epoch=5,
    attempt=2,
    retry_count=1,
    losses=1,
    worker_id="ada",
    execution_ref="jobs/large/executions/1",
    log_url="https://example.org/logs",
    cancel_requested=True,
    started_at=MOMENT,
    finished_at=MOMENT,
    result="[1]",
    progress=Progress(done=0.1, total=3, message="counting"),
    error=TaskFailure(type="ValueError", message="no", traceback="line 1\nline 2"),
    history=(HistoryEntry(at=MOMENT, event="retried", attempt=1, worker_id="ada"),),
)
"""Something else than the default for every field that may have it from the start."""


class InsertContract:
    """Insertion and keys."""

    async def test_a_record_comes_back_as_it_was_stored(self, queue: BaseQueueBackend) -> None:
        """Every field survives, and every moment to the microsecond."""
        record = replace(a_record(), **UNUSUAL)

        await queue.insert([record])

        assert await queue.get(record.id) == record

    async def test_a_plain_record_comes_back_as_it_was_stored(self, queue: BaseQueueBackend) -> None:
        """What is None, empty or the default stays so."""
        record = a_record()

        await queue.insert([record])

        assert await queue.get(record.id) == record

    async def test_records_that_are_read_together_keep_their_own_values(self, queue: BaseQueueBackend) -> None:
        """Beside one that has nothing of its own, each record differs in one field."""
        records = [one for name, value in UNUSUAL.items() for one in (a_record(), replace(a_record(), **{name: value}))]

        await queue.insert(records)

        found = {record.id: record for record in await queue.get_many([record.id for record in records])}
        assert found == {record.id: record for record in records}
        assert len({id(record.metadata) for record in found.values()}) == len(records)

    async def test_insert_answers_for_each_record_in_order(self, queue: BaseQueueBackend) -> None:
        """The answers stand in the order of the records."""
        records = [a_record(priority=number) for number in range(30)]

        insertions = await queue.insert(records)

        assert insertions == [Insertion(record, created=True) for record in records]

    async def test_a_record_is_stored_once(self, queue: BaseQueueBackend) -> None:
        """A batch with an id that is there already, or twice, is refused as a whole."""
        stored, twice, other = a_record(), a_record(), a_record()
        await queue.insert([stored])

        for batch in ([other, stored], [other, twice, twice], [other, twice, replace(twice, priority=1)]):
            with pytest.raises(QueueError, match="id of its own"):
                await queue.insert_many(batch)

        assert await queue.get_many([twice.id, other.id]) == []

    async def test_inserting_nothing_answers_nothing(self, queue: BaseQueueBackend) -> None:
        """An empty batch is no mistake."""
        assert await queue.insert([]) == []

    async def test_a_second_record_with_a_held_key_is_not_stored(self, queue: BaseQueueBackend) -> None:
        """The answer is the holder, and it has not been created."""
        first, second = a_record(key="one"), a_record(key="one")
        await queue.insert([first])

        insertions = await queue.insert([second])

        assert insertions == [Insertion(first, created=False)]
        assert await queue.get(second.id) is None

    async def test_of_two_records_with_one_key_in_a_batch_the_first_is_stored(self, queue: BaseQueueBackend) -> None:
        """A batch is judged record by record; the others are stored all the same."""
        first, second, other = a_record(key="one"), a_record(key="one"), a_record(key="two")

        insertions = await queue.insert_many([first, second, other])

        assert list(insertions) == [
            Insertion(first, created=True),
            Insertion(first, created=False),
            Insertion(other, created=True),
        ]

    async def test_the_holder_is_answered_as_it_stands_now(self, queue: BaseQueueBackend) -> None:
        """A running holder is answered as running."""
        (running,) = await claimed(queue, a_record(key="one"))

        insertions = await queue.insert([a_record(key="one")])

        assert insertions == [Insertion(running, created=False)]

    async def test_a_record_that_has_ended_holds_its_key_no_more(self, queue: BaseQueueBackend) -> None:
        """A key is free again when its record has ended."""
        (running,) = await claimed(queue, a_record(key="one"))
        await queue.swap([a_swap(lifecycle.complete(running, result="1", at=queue.now()))])
        successor = a_record(key="one")

        insertions = await queue.insert([successor])

        assert insertions == [Insertion(successor, created=True)]

    async def test_a_retried_record_keeps_its_key_while_it_waits(self, queue: BaseQueueBackend) -> None:
        """A failure that is followed by another attempt does not free the key."""
        (running,) = await claimed(queue, a_record(key="one", retries=1))
        failure = TaskFailure(type="ValueError", message="no")
        retried = lifecycle.retry_or_fail(running, failure=failure, delay=60, at=queue.now())
        await queue.swap([a_swap(retried)])

        insertions = await queue.insert([a_record(key="one")])

        assert insertions == [Insertion(retried, created=False)]

    async def test_a_record_retried_by_hand_does_not_take_its_key_back(self, queue: BaseQueueBackend) -> None:
        """Its successor holds the key by then."""
        (running,) = await claimed(queue, a_record(key="one"))
        ended = lifecycle.cancel(running, at=queue.now())
        await queue.swap([a_swap(ended)])
        successor = a_record(key="one")
        await queue.insert([successor])

        await queue.swap([a_swap(lifecycle.retry(ended, at=queue.now()))])

        assert (await queue.insert([a_record(key="one")])) == [Insertion(successor, created=False)]
