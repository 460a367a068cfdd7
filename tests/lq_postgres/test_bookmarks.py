"""In a long backlog, claims go on where the last one ended; nothing is overlooked for that, and the order stays."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from lq_core.contracts import a_claim, a_record, a_worker, opened
from lq_core.queue import BaseQueueBackend, Claim
from lq_core.records.record import FAIRNESS_KEY, QueuedTaskRecord
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.claims import bookmarks
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
    assert await claim_ids(backend) == ids_of([urgent, early, *backlog[1200:]])


async def test_what_is_more_urgent_than_a_backlog_is_claimed_long_before_its_end(backend: PostgresQueueBackend) -> None:
    backlog = a_backlog(20_000)
    urgent = a_record(priority=1)
    await backend.register(a_worker())
    await backend.insert(backlog)
    await claim_ids(backend, times=24)
    await backend.insert([urgent])

    overtaken = 0
    while urgent.id not in await claim_ids(backend, limit=1):
        overtaken += 1

    assert overtaken < 18_000


async def test_without_a_backlog_the_most_urgent_comes_first_at_once(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    await backend.insert(a_backlog(200))
    urgent = [a_record(priority=1) for _ in range(10)]
    claimed = list[UUID]()
    for record in urgent:
        await claim_ids(backend, limit=10)
        await backend.insert([record])
        claimed += await claim_ids(backend, limit=1)

    assert claimed == ids_of(urgent)


async def test_a_claim_that_falls_short_and_finds_its_worker_declared_dead_has_what_it_took(
    backend: PostgresQueueBackend, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookmarks, "BACKLOG", 10)
    dies = "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
    dies += " UPDATE lq.workers SET alive = false; RETURN NULL; END$$;"
    dies += "CREATE TRIGGER die AFTER UPDATE ON lq.records FOR EACH STATEMENT EXECUTE FUNCTION die()"
    await backend.register(a_worker())
    await backend.insert(a_backlog(15))
    await claim_ids(backend, limit=10)
    _ = database.server.run_sql(dies, at=database.dsn)

    claimed = await backend.claim(a_claim(limit=10))

    assert (claimed.alive, len(claimed.records)) == (True, 5)


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
    assert 5_000 < read < 60_000


NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


class Hand:
    """A clock that is turned by hand, and bookmarks that go by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bookmarks = bookmarks.Bookmarks(lambda: self.now)
        self.bookmarks.keep(a_claim(limit=1000), a_backlog(1000), until=NOON, from_front_in=0.01)

    def looks_from_front(self, at: float, claim: Claim | None = None) -> bool:
        self.now = at
        return self.bookmarks.of(claim or a_claim()) is None


@pytest.mark.parametrize("took, interval", [(0.001, 0.1), (0.2, 2.0), (30.0, 5.0)])
def test_looks_from_the_front_take_a_tenth_of_the_time_and_come_in_five_seconds(took: float, interval: float) -> None:
    hand = Hand()
    hand.bookmarks.keep(a_claim(limit=1), a_backlog(1), until=NOON, from_front_in=took)

    assert [hand.looks_from_front(at) for at in (interval * 0.99, interval * 1.01)] == [False, True]


def test_after_a_look_from_the_front_that_failed_claims_go_on_at_their_bookmarks() -> None:
    hand = Hand()

    assert [hand.looks_from_front(at) for at in (1.0, 5.9, 6.1)] == [True, False, True]


def test_claims_of_other_queues_have_bookmarks_of_their_own() -> None:
    assert Hand().looks_from_front(0, a_claim(queues=("mail",)))


def test_a_look_from_the_front_forgets_the_queues_in_which_it_has_found_nothing() -> None:
    hand = Hand()
    hand.bookmarks.keep(a_claim(limit=1), a_backlog(1, "mail"), until=NOON, from_front_in=0.01)

    assert '"default"' not in str(hand.bookmarks.of(a_claim()))


@pytest.mark.parametrize("queues, looks", [(99, False), (100, True)])
def test_a_claim_of_some_queues_carries_a_hundred_bookmarks_at_most(queues: int, *, looks: bool) -> None:
    hand = Hand()
    claim = a_claim(queues=("default", *map(str, range(queues))), limit=1000)
    hand.bookmarks.keep(claim, a_backlog(1000), until=NOON, from_front_in=0.01)
    hand.bookmarks.keep(claim, a_backlog(1000, *map(str, range(queues))), until=NOON, from_front_in=None)

    assert hand.looks_from_front(0, claim) is looks


def test_a_claim_of_all_queues_carries_one_bookmark_for_the_default_queue_and_one_for_all_others() -> None:
    hand = Hand()
    hand.bookmarks.keep(
        a_claim(limit=1), a_backlog(500, "default", *map(str, range(499))), until=NOON, from_front_in=None
    )

    assert str(hand.bookmarks.of(a_claim())).count('"execution_backend"') == 2


def test_a_claim_of_nothing_changes_nothing() -> None:
    hand = Hand()
    hand.bookmarks.keep(a_claim(limit=0), [], until=NOON, from_front_in=0.01)

    assert not hand.looks_from_front(0.05)


@pytest.mark.usefixtures("front_is_far")
async def test_a_backlog_with_fairness_keys_is_claimed_from_the_front(backend: PostgresQueueBackend) -> None:
    backlog = [replace(record, metadata={FAIRNESS_KEY: "large"}) for record in a_backlog(1500)]
    early = replace(a_record(), scheduled_at=backlog[0].scheduled_at)
    await backend.register(a_worker())
    await backend.insert(backlog)
    before = await claim_ids(backend, times=24)
    await backend.insert([early])

    assert before == ids_of(backlog[:1200])
    assert await claim_ids(backend, limit=1) == [early.id]
