"""Claims where nothing but the concurrency of keys limits the records, which are one statement."""

import pytest
from msgspec.structs import replace

from lq_core.contracts import a_claim, a_record, a_worker
from lq_core.records.record import Limits, QueuedTaskRecord, RateLimit
from lq_postgres import PostgresQueueBackend
from lq_postgres.statements import keyed_claiming
from lq_postgres.statements.writing import for_schema
from plans import most_rows

CLAIM: tuple[object, ...] = (None, None, "me", "ada", ["local"], None, 20, "running", 1, 30, [], [], [], [])
EXACT, ID = 1, 8
"""The columns of an answer."""


def of(key: str, *, concurrency: int = 1, queue: str = "default", priority: int = 0) -> QueuedTaskRecord:
    limits = Limits(concurrency=concurrency)
    return a_record(concurrency_key=key, limits=limits, queue=queue, priority=priority)


@pytest.mark.parametrize("others_claim", [False, True])
async def test_a_claim_takes_nothing_if_it_may_not_see_all_that_runs(
    backend: PostgresQueueBackend, others_claim: bool
) -> None:
    await backend.register(a_worker())
    records = [of("ann"), of("ann")]
    await backend.insert(records)
    async with backend.connections.lent() as connection, connection.transaction():
        # Such a transaction sees what was there at its first statement, as a statement does that runs for long.
        _ = await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        _ = await connection.fetch("SELECT FROM lq.records")
        running = (await backend.claim(a_claim())).records if others_claim else ()
        rows = await connection.fetch(for_schema(keyed_claiming.COMPLETE_AND_CLAIM, "lq"), *CLAIM)

    assert rows[0][EXACT] is not others_claim
    started = [record.id for record in running] + [row[ID] for row in rows if row[ID]]
    assert [id_.int for id_ in started] == [records[0].id.int]


async def test_a_claim_reads_no_more_records_when_more_keys_wait(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    await backend.insert([of(f"tenant {number}") for number in range(3000)])
    await backend.insert([a_record() for _ in range(3000)])

    assert await most_rows(backend, keyed_claiming.COMPLETE_AND_CLAIM, *CLAIM) <= 30 + 20


async def test_the_room_of_a_key_goes_to_the_first_of_its_records_in_all_queues(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    places = [("mail", 1), ("default", 2), ("film", 3), ("mail", 3), ("default", 1)]
    records = [of("ann", concurrency=3, queue=queue, priority=priority) for queue, priority in places]
    await backend.insert(records)

    claims = [await backend.claim(a_claim(limit=limit)) for limit in (1, 1, 5)]

    taken = [record.id for claim in claims for record in claim.records]
    assert taken == [records[index].id for index in (2, 3, 1)]
    assert [claim.held_back for claim in claims] == [False, False, True]


@pytest.mark.parametrize("rate", [None, RateLimit(100)])
async def test_a_full_key_of_several_queues_does_not_delay_other_keys(
    backend: PostgresQueueBackend, rate: RateLimit | None
) -> None:
    await backend.register(a_worker())
    await backend.insert([of("ann", concurrency=10, queue=queue, priority=1) for queue in ("a", "b", "c") * 10])
    await backend.insert([of(f"tenant {number}", queue="mail") for number in range(300)])
    limits = Limits(concurrency=1, rate=rate)
    await backend.insert([a_record(queue="mail", concurrency_key="ben", limits=limits, priority=2)])

    assert len((await backend.claim(a_claim(limit=20))).records) == 20


async def test_keys_of_queues_that_get_limits_later_are_claimed_under_both(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    await backend.insert([of(f"tenant {number}", queue="mail") for number in range(10)])
    first = await backend.claim(a_claim(limit=2))
    await backend.change_queue("mail", limits=Limits(concurrency=5))

    second = await backend.claim(a_claim())

    assert (len(first.records), len(second.records), second.held_back) == (2, 3, True)
    assert not (await backend.claim(a_claim())).records


async def test_paused_queues_are_passed_over(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    names = ("default", "mail", "film", "song")
    await backend.insert([of(f"{name} {number}", queue=name) for number in range(30) for name in names])
    await backend.insert([a_record(queue=name) for _ in range(3) for name in names])
    for name in ("default", "mail"):
        await backend.change_queue(name, paused=True)

    claims = [await backend.claim(replace(a_claim(limit=22), queues=queues)) for queues in (None, ("mail", "song"))]

    assert [{record.queue for record in claim.records} for claim in claims] == [{"film", "song"}, {"song"}]
    assert [len(claim.records) for claim in claims] == [22, 22]
