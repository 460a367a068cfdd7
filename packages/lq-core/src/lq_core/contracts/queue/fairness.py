"""The contract of queue backends for fairness keys: among records of equal priority, the keys take turns."""

from collections import Counter
from datetime import timedelta
from itertools import groupby

import pytest
from msgspec.structs import replace

from lq_core.contracts.records import a_claim, a_record, a_swap, a_worker
from lq_core.foundation.clock import utc_now
from lq_core.queue import BaseQueueBackend, Proposal
from lq_core.records import lifecycle
from lq_core.records.record import FAIRNESS_KEY, QueuedTaskRecord
from lq_core.tasks.options import OnConflict


def of(fairness_key: str, /, *, delay: float = 0.0, **changes: object) -> QueuedTaskRecord:
    """Make a record with a fairness key."""
    return a_record(delay=delay, metadata={FAIRNESS_KEY: fairness_key, "trace": "7"}, **changes)


async def start(queue: BaseQueueBackend, number: int) -> list[QueuedTaskRecord]:
    """Claim this many records one by one."""
    await queue.register(a_worker())
    claims = [await queue.claim(a_claim(limit=1)) for _ in range(number)]
    return [record for claim in claims for record in claim.records]


async def keys_of(queue: BaseQueueBackend, number: int) -> str:
    """Claim this many records one by one, and return their fairness keys, or a dot for a record without one."""
    return "".join(record.fairness_key or "." for record in await start(queue, number))


@pytest.mark.asyncio
class FairnessContract:
    """
    What a queue backend with ``takes_turns`` owes beside the other contract, one test a promise.

    Inherit it next to ``QueueBackendContract``.
    """

    async def test_keys_take_turns(self, queue: BaseQueueBackend) -> None:
        """Whichever was there first, and however many records each has."""
        await queue.insert([of("a") for _ in range(20)])
        await queue.insert([of("b") for _ in range(4)])
        await queue.insert([of("c") for _ in range(3)])

        assert await keys_of(queue, 15) == "abcabcabcabaaaa"

    async def test_keys_of_one_batch_take_turns(self, queue: BaseQueueBackend) -> None:
        """Each key has its own place in it."""
        at = utc_now() - timedelta(seconds=1)
        await queue.insert([of(key, created_at=at, scheduled_at=at) for key in "aaaaabbc"])

        taken = await keys_of(queue, 8)

        assert [sorted(taken[:3]), sorted(taken[3:5]), taken[5:]] == [["a", "b", "c"], ["a", "b"], "aaa"]

    async def test_keys_of_many_inserts_at_one_moment_take_turns(self, queue: BaseQueueBackend) -> None:
        """Equal due times do not make one turn of all."""
        at = utc_now() - timedelta(seconds=1)
        for key in "aaaabbbb":
            await queue.insert([of(key, created_at=at, scheduled_at=at)])

        assert await keys_of(queue, 8) == "abababab"

    async def test_a_turn_does_not_make_a_record_older(self, queue: BaseQueueBackend) -> None:
        """A turn may be earlier than its record, which has waited since it was stored."""
        long_ago = utc_now() - timedelta(hours=1)
        await queue.insert([of("a", created_at=long_ago, scheduled_at=long_ago)])
        late = of("b")
        await queue.insert([late])

        assert (await queue.statistics()).oldest_due == long_ago
        assert await keys_of(queue, 1) == "a"
        assert (await queue.statistics()).oldest_due == late.created_at

    async def test_a_key_that_arrives_late_waits_for_one_record(self, queue: BaseQueueBackend) -> None:
        """Also when others have been served for long, and get more records."""
        await queue.insert([of("a") for _ in range(50)])
        assert await keys_of(queue, 30) == "a" * 30
        await queue.insert([of("a") for _ in range(50)])
        await queue.insert([of("b") for _ in range(3)])

        assert await keys_of(queue, 8) == "abababaa"

    async def test_a_key_with_one_record_at_a_time_takes_no_more_than_its_turn(self, queue: BaseQueueBackend) -> None:
        """It is not ahead each time just because none of its records waits."""
        await queue.insert([of("a") for _ in range(20)])
        taken = ""
        for _ in range(10):
            await queue.insert([of("b")])
            taken += await keys_of(queue, 2)

        assert max(len(list(group)) for _, group in groupby(taken)) <= 2
        assert Counter(taken) == {"a": 10, "b": 10}

    async def test_the_records_of_one_key_start_in_order(self, queue: BaseQueueBackend) -> None:
        """By their due times, as without keys."""
        records = [of("a") for _ in range(5)]
        others = [of("b") for _ in range(3)]
        await queue.insert([*records[:3], *others])
        await queue.insert(records[3:])

        taken = [record.id for record in await start(queue, 8)]

        assert [one for one in taken if one in {record.id for record in records}] == [record.id for record in records]

    async def test_records_without_a_key_keep_their_place_by_time(self, queue: BaseQueueBackend) -> None:
        """They wait for what was due before them, and for nothing that comes later, except for turns of the former."""
        await queue.insert([of("a"), of("a"), of("a")])
        await queue.insert([a_record(), a_record()])
        await queue.insert([of("a"), of("b"), of("b"), of("b"), of("b"), of("b")])

        assert await keys_of(queue, 11) == "ababab..abb"

    async def test_a_key_alone_changes_nothing(self, queue: BaseQueueBackend) -> None:
        """Its turns are the due times of its records."""
        records = [of("a") for _ in range(3)]

        stored = await queue.insert(records)

        assert [one.record for one in stored] == records
        assert await queue.get_many([record.id for record in records]) == records

    async def test_the_answer_to_an_insert_is_what_is_stored(self, queue: BaseQueueBackend) -> None:
        """With the turn as ``scheduled_at``, and nothing else changed."""
        await queue.insert([first := of("a"), of("a")])
        (answer,) = await queue.insert([record := of("b")])

        assert answer.record == replace(record, scheduled_at=first.scheduled_at)
        assert await queue.get(record.id) == answer.record

    async def test_priorities_queues_and_execution_backends_have_turns_of_their_own(
        self, queue: BaseQueueBackend
    ) -> None:
        """A priority goes first, whatever its key has had before."""
        await queue.insert([of("a") for _ in range(6)])
        await queue.insert([of("a", priority=1), of("a", priority=1), of("b", priority=1), of("b")])
        await queue.insert([of("c", queue="other"), of("c", execution_backend="cloud")])

        assert (await keys_of(queue, 12)).replace("c", "") == "abaabaaaaa"

    async def test_a_delayed_record_has_its_turn_when_it_is_due(self, queue: BaseQueueBackend) -> None:
        """It does not wait for the others that were due before."""
        at = utc_now()
        await queue.insert([of("a", scheduled_at=at - timedelta(seconds=60 - n), created_at=at) for n in range(20)])
        soon = at + timedelta(milliseconds=30)
        await queue.insert([of("b", created_at=at, scheduled_at=soon) for _ in range(2)])
        while queue.now() < soon:
            _ = await queue.get_many([])

        taken = await keys_of(queue, 6)

        assert Counter(taken[:5]) == {"a": 3, "b": 2}

    async def test_a_record_that_returns_has_another_turn(self, queue: BaseQueueBackend) -> None:
        """Soon, however many of another key wait."""
        await queue.insert([of("b")])
        (running,) = await start(queue, 1)
        await queue.insert([of("a") for _ in range(20)])
        await queue.swap([a_swap(lifecycle.interrupt(running, at=utc_now() - timedelta(seconds=1)))])

        assert "b" in await keys_of(queue, 3)

    @pytest.mark.parametrize("number", [1, 2])
    async def test_records_that_return_again_and_again_delay_nobody(self, queue: BaseQueueBackend, number: int) -> None:
        """The other key has its turn in between, although its records are younger."""
        await queue.insert([of("b") for _ in range(number)])
        await queue.insert([of("a") for _ in range(10)])
        taken = ""
        for _ in range(16):
            (running,) = await start(queue, 1)
            taken += running.fairness_key or "."
            back = lifecycle.release_claim(running, delay=0, at=utc_now() - timedelta(seconds=1))
            done = lifecycle.complete(running, result="1", at=queue.now())
            await queue.swap([a_swap(back if running.fairness_key == "b" else done)])

        assert Counter(taken)["a"] >= 6

    async def test_a_record_that_is_unblocked_has_its_turn(self, queue: BaseQueueBackend) -> None:
        """From then on."""
        await queue.insert([blocked := of("b", blocked=True)])
        await queue.insert([of("a") for _ in range(20)])
        await queue.swap([a_swap(replace(blocked, blocked=False, epoch=1))])

        assert "b" in await keys_of(queue, 3)

    async def test_a_record_that_is_replaced_keeps_its_turn(self, queue: BaseQueueBackend) -> None:
        """And one that is debounced has a new one when it is due."""
        await queue.insert([of("a") for _ in range(5)])
        await queue.insert([of("b", key="one"), of("b")])
        amended = of("b", key="one", arguments='{"n":1}')
        (replaced,) = await queue.propose([Proposal(amended, OnConflict.REPLACE)])
        taken = await start(queue, 2)

        assert replaced.replaced
        assert [record.fairness_key for record in taken] == ["a", "b"]
        assert taken[1].arguments == '{"n":1}'

    async def test_a_record_that_is_debounced_has_a_turn_when_it_is_due(self, queue: BaseQueueBackend) -> None:
        """Not behind all others."""
        await queue.insert([of("b", key="one", delay=60)])
        await queue.insert([of("a") for _ in range(10)])
        (replaced,) = await queue.propose([Proposal(of("b", key="one"), OnConflict.DEBOUNCE)])

        assert replaced.replaced
        assert "b" in await keys_of(queue, 3)

    async def test_records_with_limits_take_turns_too(self, queue: BaseQueueBackend) -> None:
        """A concurrency key and a fairness key go together."""
        await queue.insert([of("a", concurrency_key="one") for _ in range(5)])
        await queue.insert([of("b", concurrency_key="two") for _ in range(2)])

        assert await keys_of(queue, 5) == "ababa"

    async def test_a_cancelled_record_leaves_no_hole(self, queue: BaseQueueBackend) -> None:
        """Its turn is gone."""
        stored = await queue.insert([of("a") for _ in range(6)])
        cancelled = [lifecycle.cancel(one.record, at=queue.now()) for one in stored[:3]]
        await queue.swap([a_swap(record) for record in cancelled])
        await queue.insert([of("b"), of("b")])

        assert await keys_of(queue, 5) == "ababa"

    async def test_any_text_is_a_fairness_key(self, queue: BaseQueueBackend) -> None:
        """Quotes, backslashes, percent signs and other alphabets."""
        keys = ['"', "\\", '\\"', "%", "_", "'", "ü", "\U0001f600", "a\nb", '","lq.fairness_key":"b']
        for key in keys:
            await queue.insert([of(key), of(key)])

        taken = await start(queue, 2 * len(keys))

        assert [record.fairness_key for record in taken] == keys * 2
