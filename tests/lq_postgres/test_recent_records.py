"""While claims from the front are slow, a worker without a backlog mostly looks only at new records."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import json
from msgspec.structs import replace

from lq_core import QueueConfig, QueueService, Worker, task
from lq_core.contracts import a_claim, a_record, a_worker, opened
from lq_core.queue import Claim
from lq_core.records.record import FAIRNESS_KEY, QueuedTaskRecord
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.claims import bookmarks
from lq_postgres.statements import due_records
from programs import until
from servers.fixtures import Database

INDEX_ENTRIES_READ = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'records_ready'"
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def a_brief_claim(*, limit: int = 50, queues: tuple[str, ...] | None = None) -> Claim:
    return replace(a_claim(limit=limit, queues=queues), brief=True)


def late(record: QueuedTaskRecord, seconds: float) -> QueuedTaskRecord:
    return replace(record, scheduled_at=record.scheduled_at - timedelta(seconds=seconds))


@pytest.fixture
def front_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every claim from the front is called slow, and what it leaves out is not looked at again while a test lasts."""
    monkeypatch.setattr(bookmarks, "SLOW", -1.0)
    monkeypatch.setattr(bookmarks, "FRONT_INTERVAL", 600)
    monkeypatch.setattr(bookmarks, "LONGEST_FRONT_INTERVAL", 600)


@pytest.fixture
async def looked(front_is_slow: None, backend: PostgresQueueBackend) -> PostgresQueueBackend:
    """A backend that has just looked at everything, and has claimed records of two priorities."""
    await backend.register(a_worker())
    await backend.insert([a_record(), a_record(priority=5)])
    assert len((await backend.claim(a_brief_claim())).records) == 2
    return backend


@pytest.mark.usefixtures("front_is_slow")
async def test_beside_an_open_transaction_each_claim_of_a_worker_without_a_backlog_reads_little(
    database: Database,
) -> None:
    settings = PostgresConfig(dsn=database.dsn)
    async with (
        opened(PostgresQueueBackend(settings=settings)) as idle,
        idle.connections.transaction() as fetch,
        opened(PostgresQueueBackend(settings=settings)) as backend,
    ):
        await backend.register(a_worker())
        await fetch("SELECT pg_current_xact_id()::text")  # From now on nothing that is claimed can be cleaned away.
        await backend.insert([late(a_record(priority=number % 3), 60) for number in range(3000)])
        assert len((await backend.claim(a_claim(limit=3001))).records) == 3000
        for number in range(100):
            await backend.insert([a_record(priority=number % 3)])
            assert len((await backend.claim(a_brief_claim())).records) == 1
        await backend.close()  # Its sessions report what they have read.
        read = int(database.server.run_sql(INDEX_ENTRIES_READ, at=database.dsn))

    # The large claim reads its records a few times. From the front, each of the small ones reads 3,000 dead entries.
    assert 3000 < read < 30_000


@pytest.mark.usefixtures("front_is_slow")
async def test_beside_an_open_transaction_a_worker_without_a_backlog_reads_little(database: Database) -> None:
    @task(name="recent.nothing")
    async def nothing() -> None:
        """Do nothing."""

    settings = PostgresConfig(dsn=database.dsn)
    async with (
        opened(PostgresQueueBackend(settings=settings)) as idle,
        idle.connections.transaction() as fetch,
        opened(PostgresQueueBackend(settings=settings)) as filler,
        QueueService(QueueConfig(queue_backend=settings, poll_interval=600)) as service,
    ):
        await filler.register(a_worker())
        await fetch("SELECT pg_current_xact_id()::text")  # From now on nothing that is claimed can be cleaned away.
        await filler.insert([late(a_record(), 60) for _ in range(3000)])
        assert len((await filler.claim(a_claim(limit=3001))).records) == 3000
        async with Worker(service):
            for _ in range(50):
                await (await service.enqueue(nothing)).wait(timeout=30)
        await filler.close()
        await service.close()  # The sessions report what they have read.
        read = int(database.server.run_sql(INDEX_ENTRIES_READ, at=database.dsn))

    # From the front, each claim reads 3,000 dead entries, and each search for the next due record as many.
    assert 3000 < read < 50_000


async def test_the_last_claim_of_a_backlog_is_followed_by_one_from_the_front(
    looked: PostgresQueueBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookmarks, "BACKLOG", 10)
    await looked.insert([a_record() for _ in range(25)])
    full = [len((await looked.claim(a_brief_claim(limit=10))).records) for _ in range(2)]
    urgent = a_record(priority=5)
    await looked.insert([urgent])

    last = (await looked.claim(a_brief_claim(limit=10))).records

    assert full == [10, 10]
    assert len(last) == 6
    assert last[0].id == urgent.id


@pytest.mark.usefixtures("front_is_slow")
async def test_a_record_that_is_made_ready_late_is_found_by_the_claim_that_makes_it_ready(
    backend: PostgresQueueBackend, database: Database
) -> None:
    await backend.register(a_worker())
    _ = await backend.claim(a_brief_claim())
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))) as other:
        record = replace(a_record(), scheduled_at=other.now() + timedelta(seconds=300))
        await other.insert([record])
        at = other.now() - timedelta(seconds=60)
        _ = await other.connections.fetch("UPDATE lq.records SET scheduled_at = $1", at)

    claimed = await backend.claim(a_brief_claim())

    assert [one.id for one in claimed.records] == [record.id]


@pytest.mark.parametrize("priority", [-3, 0, 3, 5, 7])
async def test_a_new_record_of_any_priority_is_found_at_once(looked: PostgresQueueBackend, priority: int) -> None:
    record = late(a_record(priority=priority), 1)
    await looked.insert([record])

    assert [one.id for one in (await looked.claim(a_brief_claim())).records] == [record.id]


async def test_new_records_come_in_their_order_and_no_more_than_there_is_room_for(looked: PostgresQueueBackend) -> None:
    records = [a_record(priority=priority) for priority in (5, 0, 3, 9, 5, -1)]
    await looked.insert(records)

    claimed = [one.id for _ in range(3) for one in (await looked.claim(a_brief_claim(limit=2))).records]

    assert claimed == [records[index].id for index in (3, 0, 4, 2, 1, 5)]


@pytest.mark.parametrize("queue", ["default", "mail"])
async def test_a_record_that_comes_late_waits_for_a_look_at_what_is_left_out(
    looked: PostgresQueueBackend, queue: str
) -> None:
    record = late(a_record(), 3)
    await looked.insert([record])

    brief = await looked.claim(a_brief_claim())
    whole = await looked.claim(a_claim(limit=50))

    assert brief.records == ()
    assert brief.next_look is not None
    assert timedelta(seconds=500) < brief.next_look - looked.now() <= timedelta(seconds=600)
    assert ([one.id for one in whole.records], whole.next_look) == ([record.id], None)


async def test_a_record_that_is_due_later_is_found_in_time(looked: PostgresQueueBackend) -> None:
    record = replace(a_record(), scheduled_at=looked.now() + timedelta(seconds=300))
    await looked.insert([record])

    assert (await looked.claim(a_brief_claim())).next_look == record.scheduled_at


@pytest.mark.usefixtures("front_is_slow")
@pytest.mark.parametrize("queues", [None, ("default", "mail")], ids=["all-queues", "two-queues"])
async def test_a_worker_runs_all_new_calls_of_all_queues_and_priorities(
    database: Database, queues: tuple[str, ...] | None
) -> None:
    @task(name=f"recent.add.{queues is None}")
    async def add(one: int, other: int) -> int:
        return one + other

    config = QueueConfig(queue_backend=PostgresConfig(dsn=database.dsn), queues=queues, poll_interval=600)
    async with QueueService(config) as service, Worker(service):
        for number in range(30):
            call = add.using(queue=("default", "mail")[number % 2], priority=number % 4, delay=0.01 * (number % 3))
            assert await (await service.enqueue(call, number, 1)).wait(timeout=30) == number + 1


@pytest.mark.parametrize("queue", ["default", "mail"])
async def test_a_worker_looks_at_what_it_has_left_out(
    database: Database, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookmarks, "SLOW", -1.0)
    monkeypatch.setattr(bookmarks, "LONGEST_FRONT_INTERVAL", 600)  # Only the look itself wakes the worker.
    has_run = asyncio.Event()

    @task(name="recent.run", queue=queue)
    async def run() -> None:
        has_run.set()

    config = QueueConfig(queue_backend=PostgresConfig(dsn=database.dsn), poll_interval=600)
    async with QueueService(config) as service, Worker(service):
        await (await service.enqueue(run)).wait(timeout=30)
        for _ in range(3):
            has_run.clear()
            await service.queue_backend.insert([late(a_record(task_name="recent.run", queue=queue), 3600)])
            async with asyncio.timeout(30):
                await has_run.wait()


async def test_what_is_left_out_of_a_paused_queue_is_not_looked_for(looked: PostgresQueueBackend) -> None:
    marks = [{"execution_backend": "local", "queue": queue, "urgency": -1} for queue in ("default", "mail", None)]
    left_out = json.encode([{**mark, "scheduled_at": looked.now()} for mark in marks]).decode()

    async def found() -> bool:
        [[found, _]] = await looked.connections.fetch(due_records.LEFT_OUT, left_out, None)
        return found

    nothing = await found()
    await looked.insert([late(a_record(queue="mail"), 60)])
    one = await found()
    await looked.change_queue("mail", paused=True)

    assert (nothing, one, await found()) == (False, True, False)


class Hand:
    """A clock that is turned by hand, and bookmarks that go by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bookmarks = bookmarks.Bookmarks(lambda: self.now)

    def looks_at(self, claim: Claim) -> list[dict[str, object]] | None:
        ranges = self.bookmarks.of(claim)
        return None if ranges is None else json.decode(ranges.json)


def test_a_quick_claim_from_the_front_is_followed_by_others() -> None:
    hand = Hand()
    hand.bookmarks.keep(a_brief_claim(), [], until=NOON, from_front_in=bookmarks.SLOW)

    assert hand.looks_at(a_brief_claim()) is None
    assert hand.bookmarks.next_look_in(a_brief_claim()) is None


def test_to_look_at_what_is_left_out_takes_a_tenth_of_the_time() -> None:
    hand = Hand()
    hand.bookmarks.keep(a_brief_claim(), [a_record()], until=NOON, from_front_in=0.2)
    hand.now = 1.9
    early = hand.bookmarks.left_out(a_brief_claim()), hand.bookmarks.next_look_in(a_brief_claim())
    hand.now = 2.1
    first, second = (hand.bookmarks.left_out(a_brief_claim()) for _ in range(2))
    hand.bookmarks.looked(a_brief_claim(), found=False, took=0.3)

    assert early == (None, pytest.approx(0.1))
    assert first is not None
    assert json.decode(first) == [
        {"execution_backend": "local", "queue": queue, "urgency": -1, "scheduled_at": "2026-12-01T11:59:58Z"}
        for queue in ("default", None)
    ]
    assert second is None  # The first look is under way.
    assert hand.bookmarks.next_look_in(a_brief_claim()) == pytest.approx(3.0)


@pytest.mark.parametrize("found, took", [(True, 1.0), (False, bookmarks.SLOW)], ids=["found", "quick"])
def test_after_a_look_that_was_quick_or_found_a_record_claims_begin_at_the_front(found: bool, took: float) -> None:
    hand = Hand()
    hand.bookmarks.keep(a_brief_claim(), [], until=NOON, from_front_in=0.2)
    hand.bookmarks.looked(a_brief_claim(), found=found, took=took)

    assert hand.looks_at(a_brief_claim()) is None


def test_the_ranges_of_a_place_leave_out_old_records_of_the_priorities_that_were_seen() -> None:
    hand = Hand()
    claim = a_brief_claim(queues=("mail",))
    hand.bookmarks.keep(claim, [a_record(queue="mail", priority=5)], until=NOON, from_front_in=0.2)

    mark, since = {"execution_backend": "local", "queue": "mail"}, "2026-12-01T11:59:58Z"
    assert hand.looks_at(claim) == [
        {**mark, "below": -6},
        {**mark, "urgency": -6, "scheduled_at": since, "below": -1},
        {**mark, "urgency": -1, "scheduled_at": since, "below": None},
    ]


def test_a_look_that_ends_in_a_backlog_is_repeated_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookmarks, "BACKLOG", 10)
    hand = Hand()
    hand.bookmarks.keep(a_brief_claim(), [], until=NOON, from_front_in=0.2)
    hand.now = 3.0
    assert hand.bookmarks.left_out(a_brief_claim()) is not None
    hand.bookmarks.keep(a_brief_claim(limit=10), [a_record() for _ in range(10)], until=NOON, from_front_in=None)
    hand.bookmarks.looked(a_brief_claim(), found=False, took=0.2)
    hand.now = 10.0

    assert hand.looks_at(a_brief_claim()) is None
    hand.bookmarks.keep(a_brief_claim(), [], until=NOON, from_front_in=0.2)
    hand.now = 20.0
    assert hand.bookmarks.left_out(a_brief_claim()) is not None


def test_priorities_are_remembered_when_claims_begin_at_the_front_again() -> None:
    hand = Hand()
    hand.bookmarks.keep(a_brief_claim(), [a_record(priority=5)], until=NOON, from_front_in=0.2)
    hand.bookmarks.looked(a_brief_claim(), found=True, took=0.2)
    hand.bookmarks.keep(a_brief_claim(), [], until=NOON, from_front_in=0.2)

    assert {"urgency": -6} in [{"urgency": one.get("urgency")} for one in hand.looks_at(a_brief_claim()) or ()]


async def test_a_look_that_fails_is_repeated(looked: PostgresQueueBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookmarks, "FRONT_INTERVAL", 0.0)
    monkeypatch.setattr(bookmarks, "LONGEST_FRONT_INTERVAL", 0.0)
    for _ in range(2):  # The first of these looks begins, and ends with the connections.
        _ = await looked.claim(a_claim())
        _ = await looked.claim(a_brief_claim())
        await looked.close()
        await looked.open()
    await looked.insert([late(a_record(), 60)])

    async def is_found() -> bool:
        return bool((await looked.claim(a_brief_claim())).records)

    await until(is_found, what="the late record is found")


def test_with_very_many_priorities_claims_begin_at_the_front() -> None:
    hand = Hand()
    records = [a_record(priority=priority) for priority in range(bookmarks.MOST_BOOKMARKS)]
    hand.bookmarks.keep(a_brief_claim(limit=1000), records, until=NOON, from_front_in=0.2)

    assert hand.looks_at(a_brief_claim()) is None
    assert hand.bookmarks.next_look_in(a_brief_claim()) is None


def test_a_claim_that_is_not_brief_begins_at_the_front() -> None:
    hand = Hand()
    hand.bookmarks.keep(a_brief_claim(), [], until=NOON, from_front_in=0.2)

    assert hand.looks_at(a_claim()) is None


@pytest.mark.parametrize("metadata, limit", [({FAIRNESS_KEY: "large"}, 50), ({}, 1)], ids=["fairness-key", "full"])
def test_after_a_turn_and_where_others_are_left_claims_begin_at_the_front(metadata: dict[str, str], limit: int) -> None:
    hand = Hand()
    claim = a_brief_claim(limit=limit)
    hand.bookmarks.keep(claim, [replace(a_record(), metadata=metadata)], until=NOON, from_front_in=0.2)

    assert hand.looks_at(a_brief_claim()) is None
