"""Turns in PostgreSQL: what is read for one, and transactions of the application."""

from collections import Counter
from datetime import timedelta

import pytest
from msgspec.structs import replace

from lq_core.contracts import a_claim, a_record, a_swap, a_worker, opened
from lq_core.foundation.clock import utc_now
from lq_core.records import lifecycle
from lq_core.records.record import FAIRNESS_KEY, QueuedTaskRecord
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.statements import fairness
from plans import most_rows
from servers.fixtures import Database


def of(key: str, **changes: object) -> QueuedTaskRecord:
    """Make a record with a fairness key."""
    return replace(a_record(), metadata={FAIRNESS_KEY: key}, **changes)


@pytest.fixture
async def crowded(backend: PostgresQueueBackend) -> PostgresQueueBackend:
    """A long backlog of one key, and many keys with a record each."""
    await backend.register(a_worker())
    await backend.insert([of("large") for _ in range(3000)])
    await backend.insert([of(f"tenant {number}") for number in range(3000)])
    return backend


@pytest.mark.parametrize("key", ["large", "small", "tenant 7"])
async def test_a_turn_is_found_without_reading_waiting_records(crowded: PostgresQueueBackend, key: str) -> None:
    line = [[0], ["local"], ["default"], [0], [f'"{key}"'], [5]]

    assert await most_rows(crowded, fairness.TURNS, *line) <= 12


async def test_the_first_record_of_a_key_starts_next_beside_long_backlogs(crowded: PostgresQueueBackend) -> None:
    await crowded.insert([of("small")])

    taken = await crowded.claim(a_claim(limit=3002))

    assert "small" in {record.fairness_key for record in taken.records}


async def test_records_that_become_due_are_promoted_with_turns(database: Database) -> None:
    now = utc_now()
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn), clock=lambda: now)) as backend:
        await backend.register(a_worker())
        soon = now + timedelta(seconds=60)
        await backend.insert([of("large", created_at=now, scheduled_at=soon) for _ in range(1500)])
        await backend.insert([a_record(created_at=now, scheduled_at=soon) for _ in range(10)])
        await backend.insert([of("small", created_at=now, scheduled_at=soon) for _ in range(3)])
        now += timedelta(seconds=61)

        first = await backend.claim(a_claim(limit=1))
        rest = await backend.claim(a_claim(limit=2000))

    taken = [record.fairness_key for record in (*first.records, *rest.records)]
    assert Counter(taken) == {"large": 1500, "small": 3, None: 10}
    assert len(taken) - taken[::-1].index("small") <= 20


async def test_a_record_that_becomes_due_on_its_way_to_the_database_has_a_turn(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    await backend.insert([of("small")])
    (running,) = (await backend.claim(a_claim())).records
    await backend.insert([of("large", scheduled_at=backend.now() - timedelta(hours=1)) for _ in range(50)])
    late = backend.now() - timedelta(seconds=1)
    back = lifecycle.snooze(running, delay=0.01, at=late)

    backend.clock.was(late)
    await backend.swap([a_swap(back)])
    backend.clock.was(late + timedelta(seconds=1))

    claims = [await backend.claim(a_claim(limit=1)) for _ in range(4)]
    assert "small" in {record.fairness_key for claim in claims for record in claim.records}
