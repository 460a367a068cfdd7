"""In a long backlog, claims go on where the last one ended; nothing is overlooked for that, and the order stays."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from lq_core.queue import BaseQueueBackend
from lq_core.record import QueuedTaskRecord
from lq_core.testing import a_claim, a_record, a_worker, opened
from lq_postgres import PostgresConfig, PostgresQueueBackend, bookmarks
from servers.fixtures import Database

INDEX_ENTRIES_READ = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'records_ready'"


@pytest.fixture
def front_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once there is a backlog, no claim looks from the front again while a test lasts."""
    monkeypatch.setattr(bookmarks, "FRONT_INTERVAL", 600)
    monkeypatch.setattr(bookmarks, "LONGEST_FRONT_INTERVAL", 600)


def a_backlog(size: int, *queues: str) -> list[QueuedTaskRecord]:
    records = [a_record(queue=queues[number % len(queues)] if queues else "default") for number in range(size)]
    start = records[0].scheduled_at - timedelta(days=1)
    return [replace(record, scheduled_at=start + timedelta(seconds=n)) for n, record in enumerate(records)]


async def claim_ids(backend: BaseQueueBackend, *, limit: int = 50, times: int = 1) -> list[UUID]:
    claims = [await backend.claim(a_claim(limit=limit)) for _ in range(times)]
    return [record.id for claim in claims for record in claim.records]


def ids_of(records: Sequence[QueuedTaskRecord]) -> list[UUID]:
    return [record.id for record in records]


@pytest.mark.usefixtures("front_is_far")
@pytest.mark.parametrize("queues", [3, 150])
async def test_a_backlog_of_several_queues_is_claimed_in_its_order(backend: PostgresQueueBackend, queues: int) -> None:
    backlog = a_backlog(1500, *(f"mail of {number}" for number in range(queues)))
    await backend.register(a_worker())
    await backend.insert(backlog)

    assert await claim_ids(backend, times=30) == ids_of(backlog)


@pytest.mark.usefixtures("front_is_far")
async def test_what_is_before_the_bookmark_is_found_by_the_claim_that_has_room_for_it(
    backend: PostgresQueueBackend,
) -> None:
    backlog = a_backlog(1225)
    urgent, early = a_record(priority=1), replace(a_record(), scheduled_at=backlog[0].scheduled_at)
    await backend.register(a_worker())
    await backend.insert(backlog)
    before = await claim_ids(backend, times=24)
    await backend.insert([early, urgent])

    assert before == ids_of(backlog[:1200])
    assert await claim_ids(backend) == [*ids_of(backlog[1200:]), urgent.id, early.id]


async def test_what_is_more_urgent_than_a_backlog_is_claimed_long_before_its_end(backend: PostgresQueueBackend) -> None:
    backlog = a_backlog(20_000)
    urgent = a_record(priority=1)
    await backend.register(a_worker())
    await backend.insert(backlog)
    await claim_ids(backend, times=24)
    await backend.insert([urgent])

    while urgent.id not in (found := await claim_ids(backend, limit=1)):
        assert found


async def test_without_a_backlog_the_most_urgent_comes_first_at_once(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    await backend.insert(a_backlog(200))
    for _ in range(10):
        urgent = a_record(priority=1)
        await claim_ids(backend, limit=10)
        await backend.insert([urgent])

        assert await claim_ids(backend, limit=1) == [urgent.id]


@pytest.mark.usefixtures("front_is_far")
async def test_a_transaction_that_stays_open_does_not_make_claims_slower_and_slower(database: Database) -> None:
    settings = PostgresConfig(dsn=database.dsn)
    async with (
        opened(PostgresQueueBackend(settings=settings)) as idle,
        idle.connections.transaction() as fetch,
        opened(PostgresQueueBackend(settings=settings)) as backend,
    ):
        await backend.register(a_worker())
        await backend.insert(a_backlog(5000))
        await fetch("SELECT pg_current_xact_id()::text")  # From now on nothing that is claimed can be cleaned away.
        assert len(await claim_ids(backend, times=100)) == 5000
        await backend.close()  # Its sessions report what they have read.
        read = int(database.server.run_sql(INDEX_ENTRIES_READ, at=database.dsn))

    # Each claim reads what it takes a few times; all of them from the front, 250,000 entries that are dead.
    assert read < 60_000
