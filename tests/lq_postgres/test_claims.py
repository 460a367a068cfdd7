"""What a claim has taken reaches its worker, whatever goes wrong after that."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from lq_core import StorageError
from lq_core.contracts import a_claim, a_record, a_swap, a_worker, claimed, opened
from lq_core.records.lifecycle import complete
from lq_core.records.record import Limits, TaskStatus
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.statements import limiting
from programs import until
from servers.fixtures import Database

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'full' USING ERRCODE = '53100'; END$$;
CREATE TRIGGER refuse BEFORE UPDATE ON lq.records FOR EACH ROW WHEN ({}) EXECUTE FUNCTION refuse();
"""
WAITS_FOR_ITS_TURN = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'
"""
ACCEPT = "DROP TRIGGER refuse ON lq.records"


@pytest.fixture
async def other(backend: PostgresQueueBackend, database: Database) -> AsyncIterator[PostgresQueueBackend]:
    """Another process, which does not know what this one stores."""
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True))) as other:
        yield other


async def two_ready_and_one_that_has_become_due(
    backend: PostgresQueueBackend, other: PostgresQueueBackend, database: Database
) -> None:
    await backend.register(a_worker())
    _ = await backend.claim(a_claim())
    _ = await other.insert([a_record(priority=9), a_record(priority=9), a_record()])
    _ = database.server.run_sql("UPDATE lq.records SET ready = false WHERE priority = 0", at=database.dsn)


async def test_what_becomes_due_while_there_is_room_is_part_of_the_claim(
    backend: PostgresQueueBackend, other: PostgresQueueBackend, database: Database
) -> None:
    await two_ready_and_one_that_has_become_due(backend, other, database)

    assert len((await backend.claim(a_claim())).records) == 3


async def test_what_was_claimed_before_a_fault_is_answered(
    backend: PostgresQueueBackend, other: PostgresQueueBackend, database: Database
) -> None:
    await two_ready_and_one_that_has_become_due(backend, other, database)
    _ = database.server.run_sql(REFUSE.format("NOT OLD.ready AND NEW.ready"), at=database.dsn)

    assert len((await backend.claim(a_claim())).records) == 2


async def test_a_limit_that_is_set_during_a_claim_that_heeds_others_counts_what_that_starts(
    backend: PostgresQueueBackend, other: PostgresQueueBackend, database: Database
) -> None:
    async def setting_waits() -> bool:
        return database.server.run_sql(WAITS_FOR_ITS_TURN, at=database.dsn) == "1"

    await backend.register(a_worker())
    [[one], [two]] = [await backend.insert([a_record(queue="mail")]) for _ in range(2)]
    async with other.connections.transaction() as fetch:  # What such a claim does.
        _ = await fetch(limiting.LOCK)
        setting = asyncio.create_task(backend.change_queue("mail", limits=Limits(concurrency=1)))
        await until(setting_waits, what="the limit waits for the claim")
        _ = await fetch(limiting.CLAIM_CHOSEN, None, "ada", [one.record.id, two.record.id], "running", 1, [])
    _ = await setting

    counted = "SELECT count(*) FROM lq.records WHERE semaphore_queue = 'mail'"
    assert database.server.run_sql(counted, at=database.dsn) == "2"


async def test_what_has_ended_is_stored_while_a_claim_under_limits_waits_for_another(
    backend: PostgresQueueBackend, other: PostgresQueueBackend, database: Database
) -> None:
    async def claim_waits() -> bool:
        return database.server.run_sql(WAITS_FOR_ITS_TURN, at=database.dsn) == "1"

    await backend.register(a_worker())
    records = [a_record(concurrency_key="ann", limits=Limits(concurrency=1)) for _ in range(2)]
    _ = await backend.insert(records)
    [first] = (await backend.claim(a_claim())).records
    async with other.connections.transaction() as fetch:
        _ = await fetch(limiting.LOCK)
        swap = a_swap(complete(first, result="1", at=backend.now()))
        claiming = asyncio.create_task(backend.settle_and_claim([swap], a_claim()))
        await until(claim_waits, what="the claim waits for the other one")

        assert [record.status for record in await other.get_many([first.id])] == [TaskStatus.COMPLETED]
    kept, answer = await claiming
    assert kept == [True]
    assert [record.id for record in answer.records] == [records[1].id]


async def test_a_limit_that_is_set_again_counts_what_was_not_counted_then(
    backend: PostgresQueueBackend, database: Database
) -> None:
    limits = Limits(concurrency=2)
    _ = await claimed(backend, *(a_record(queue="mail") for _ in range(3)))
    _ = database.server.run_sql(REFUSE.format("NEW.semaphore_queue = 'mail'"), at=database.dsn)
    with pytest.raises(StorageError):
        _ = await backend.change_queue("mail", limits=limits)
    _ = database.server.run_sql(ACCEPT, at=database.dsn)
    _ = await backend.change_queue("mail", limits=limits)
    _ = await backend.insert([a_record(queue="mail")])

    assert (await backend.claim(a_claim())).records == ()
    assert (await backend.statistics()).total(TaskStatus.RUNNING) == 3
