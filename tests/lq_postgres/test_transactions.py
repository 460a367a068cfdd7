"""Enqueueing in the application's own transaction, whatever it holds its connection by."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from app_connections import HOLDERS, Connect, by_asyncpg, by_psycopg
from lq_core import ConfigurationError, EnqueueOutcome, QueueConfig, QueueService, SyncQueueService, task
from lq_core.contracts import a_claim, a_record, a_swap, a_worker, opened
from lq_core.foundation.clock import utc_now
from lq_core.foundation.errors import SchemaError
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.records.lifecycle import complete
from lq_core.records.record import FAIRNESS_KEY, Limits, RateLimit, TaskStatus
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers.fixtures import VERSIONS, Database

asyncpg: Any = import_module("asyncpg")


@task(name="transactions.welcome")
async def welcome(name: str) -> str:
    return name


ON_EVERY_VERSION = ("asyncpg", "psycopg", "psycopg-plain")
"""The ways that run on every server; the others differ from these in the client alone."""

on_each = pytest.mark.parametrize(
    "postgres_server, connect",
    [
        pytest.param(version, connect, id=f"postgres{version}-{name}")
        for version in VERSIONS
        for name, connect in HOLDERS.items()
        if version == VERSIONS[0] or name in ON_EVERY_VERSION
    ],
    indirect=["postgres_server"],
    scope="session",
)


@pytest.fixture
async def service(database: Database) -> AsyncIterator[QueueService]:
    async with QueueService(QueueConfig(queue_backend=PostgresConfig(dsn=database.dsn))) as service:
        yield service


@pytest.mark.parametrize("connect", [by_asyncpg, by_psycopg, HOLDERS["session-asyncpg"]])
async def test_a_connection_to_another_database_is_told_apart(
    service: QueueService, database: Database, connect: Connect
) -> None:
    async with connect(database.server.create_database(f"another_{uuid4().hex}")) as connection:
        with pytest.raises(
            SchemaError, match="Does this connection use the database that holds the records, in the schema 'lq'"
        ):
            await service.within(connection).enqueue(welcome, "ada")


class ChangedMindError(Exception):
    """What rolls a transaction back."""


@on_each
async def test_a_record_is_there_from_the_commit_on(
    service: QueueService, database: Database, connect: Connect
) -> None:
    async with connect(database.dsn) as connection:
        sent = await service.within(connection).enqueue(welcome, "ada")
        before = await service.get(sent.id)

    assert sent.created
    assert before is None
    assert await service.get(sent.id) == sent.record


@on_each
async def test_a_record_that_was_rolled_back_never_was(
    service: QueueService, database: Database, connect: Connect
) -> None:
    calls = [welcome.call("ada"), welcome.using(priority=3).call("bob")]

    async def change_mind() -> None:
        async with connect(database.dsn) as connection:
            _ = await service.within(connection).enqueue_many(calls)
            raise ChangedMindError

    with pytest.raises(ChangedMindError):
        await change_mind()
    assert await service.find() == []


@on_each
async def test_a_key_that_is_held_is_answered_with_its_holder(
    service: QueueService, database: Database, connect: Connect
) -> None:
    once = welcome.using(key="welcome:ada")
    first = await service.enqueue(once, "ada")
    async with connect(database.dsn) as connection:
        again, other = await service.within(connection).enqueue_many([once.call("ada"), welcome.call("bob")])

    assert (again.created, again.id) == (False, first.id)
    assert other.created


@on_each
async def test_what_comes_after_another_waits_for_it_and_is_found_by_its_key(
    service: QueueService, database: Database, connect: Connect
) -> None:
    first = await service.enqueue(welcome, "ada")
    later = welcome.using(key="later", after=[first])
    async with connect(database.dsn) as connection:
        sent = await service.within(connection).enqueue(later, "bob")
    async with connect(database.dsn) as connection:
        again = await service.within(connection).enqueue(later, "bob")

    assert sent.record.after is not None
    assert await service.get(sent.id) == sent.record == again.record
    assert (await service.queue_backend.unblocked(limit=10)).records == []


@on_each
async def test_what_was_enqueued_before_in_the_same_transaction_may_come_first(
    service: QueueService, database: Database, connect: Connect
) -> None:
    async with connect(database.dsn) as connection:
        within = service.within(connection)
        first = await within.enqueue(welcome, "ada")
        second = await within.enqueue(welcome.using(after=[first]), "bob")

    assert await service.get(second.id) == second.record


@on_each
async def test_a_waiting_holder_is_replaced_with_the_commit(
    service: QueueService, database: Database, connect: Connect
) -> None:
    replacing = welcome.using(key="welcome:ada", delay=60, on_conflict="replace")
    first = await service.enqueue(replacing, "ada")
    async with connect(database.dsn) as connection:
        again = await service.within(connection).enqueue(replacing, "eve")
        before = await service.get(first.id)

    assert (again.outcome, again.id, before) == (EnqueueOutcome.REPLACED, first.id, first.record)
    assert await first.refresh() == again.record
    assert first.record.arguments == '{"name":"eve"}'


@on_each
async def test_a_holder_that_was_not_started_in_time_is_no_holder(
    service: QueueService, database: Database, connect: Connect
) -> None:
    late = await service.enqueue(welcome.using(key="ada", expires_in=0.000_001), "Ada")
    async with connect(database.dsn) as connection:
        new = await service.within(connection).enqueue(welcome.using(key="ada", on_conflict="replace"), "Ada")

    assert (new.outcome, new.id == late.id) == ("created", False)
    assert await service.get(new.id) is not None


async def test_a_claim_that_passes_over_what_a_transaction_holds_spends_no_tokens(database: Database) -> None:
    rated = a_record(concurrency_key="ann", limits=Limits(rate=RateLimit(1, per=3600)))
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))) as queue:
        await queue.register(a_worker())
        await queue.insert([rated])
        async with by_asyncpg(database.dsn) as connection:
            await connection.execute("SELECT FROM lq.records FOR UPDATE")
            assert (await queue.claim(a_claim())).records == ()

        assert [record.id for record in (await queue.claim(a_claim())).records] == [rated.id]


async def test_waiting_workers_are_woken_by_the_commit(service: QueueService, database: Database) -> None:
    changes = service.queue_backend.changes
    await service.queue_backend.wait_for_work(changes, timeout=10)  # It listens from now on, and says so.
    changes = service.queue_backend.changes
    async with by_asyncpg(database.dsn) as connection:
        _ = await service.within(connection).enqueue(welcome, "ada")
        before = service.queue_backend.changes
    await service.queue_backend.wait_for_work(changes, timeout=10)

    assert before == changes
    assert service.queue_backend.changes > changes


@on_each
async def test_an_end_is_recorded_with_the_transaction(database: Database, connect: Connect) -> None:
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))
    await backend.open()
    await backend.register(a_worker())
    _ = await backend.insert([a_record()])
    [record] = (await backend.claim(a_claim())).records
    async with connect(database.dsn) as connection:
        ended = complete(record, result="1", at=backend.now())

        assert await backend.swap_within(connection, a_swap(ended))
        assert await backend.get(record.id) == record
    assert await backend.get(record.id) == ended
    async with connect(database.dsn) as connection:
        assert not await backend.swap_within(connection, a_swap(ended))
    assert (await backend.statistics()).total(TaskStatus.COMPLETED) == 1
    await backend.close()


def test_plain_code_enqueues_in_its_own_transaction(database: Database) -> None:
    with SyncQueueService(QueueConfig(queue_backend=PostgresConfig(dsn=database.dsn))) as queue:
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            with connection.transaction():
                sent = queue.within(connection).enqueue(welcome, "ada")
                others = queue.within(connection).enqueue_many([welcome.call("bob")])
                before = queue.get(sent.id)
            with pytest.raises(ConfigurationError, match="No transaction is open on this Connection"):
                _ = queue.within(connection).enqueue(welcome, "cid")

        assert before is None
        assert {record.id for record in queue.find()} == {sent.id, others[0].id}


@on_each
async def test_every_value_of_a_record_goes_through_the_connection_of_the_application(
    database: Database, connect: Connect
) -> None:
    fair = {FAIRNESS_KEY: "ann"}
    records = [a_record(expires_at=at(60), metadata={"a": "b"}), a_record(key="once", key_until=at(90), timeout=0.5)]
    turns = [a_record(metadata=fair), a_record(metadata=fair), a_record(metadata={FAIRNESS_KEY: "bob"})]
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))) as queue:
        async with connect(database.dsn) as connection:
            _ = await queue.insert_within(connection, records)
            _ = await queue.insert_within(connection, turns[:1])
            given = await queue.insert_within(connection, turns[1:])
            within = await queue.get_within(connection, [record.id for record in records])

        for insertion in given:
            assert await queue.get(insertion.record.id) == insertion.record
        assert sorted(within, key=lambda record: record.id) == records
        assert sorted(await queue.get_many([record.id for record in records]), key=lambda one: one.id) == records


def at(seconds: float) -> datetime:
    return utc_now() + timedelta(seconds=seconds)


async def test_without_a_transaction_there_is_nothing_to_share(service: QueueService, database: Database) -> None:
    connection: Any = await asyncpg.connect(database.dsn)
    with pytest.raises(ConfigurationError, match="No transaction is open on this Connection"):
        _ = await service.within(connection).enqueue(welcome, "ada")
    await connection.close()
    async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as other:
        with pytest.raises(ConfigurationError, match="No transaction is open on this AsyncConnection"):
            _ = await service.within(other).enqueue(welcome, "ada")
    assert await service.find() == []


async def test_something_else_is_refused_by_name(service: QueueService) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot use builtins\.str"):
        _ = await service.within("postgresql://").enqueue(welcome, "ada")


async def test_a_store_of_its_own_says_that_it_cannot() -> None:
    async with QueueService(queue_backend=InMemoryQueueBackend()) as service:
        with pytest.raises(ConfigurationError, match="InMemoryQueueBackend keeps records apart"):
            _ = await service.within(object()).enqueue(welcome, "ada")


@pytest.mark.parametrize("commits", [True, False])
async def test_a_call_with_a_key_and_what_comes_after_it_are_committed_together_or_not_at_all(
    database: Database, commits: bool
) -> None:
    async with QueueService(QueueConfig(queue_backend=PostgresConfig(dsn=database.dsn))) as service:
        holder = await service.enqueue(welcome.using(key="ada"), "Ada")
        held, free = welcome.using(key="ada").call("Ada"), welcome.using(key="bob").call("Bob")
        connection: Any = await asyncpg.connect(database.dsn)
        transaction = connection.transaction()
        await transaction.start()
        found, made, last = await service.within(connection).enqueue_many(
            [held, free, welcome.using(after=[held, free]).call("Cid")]
        )
        await (transaction.commit() if commits else transaction.rollback())
        await connection.close()

        stored = {record.id for record in await service.find()}

    assert (found.id, found.created, made.id) == (holder.id, False, free.id)
    assert last.record.after is not None
    assert last.record.after.ids == (holder.id, free.id)
    assert stored == ({holder.id, made.id, last.id} if commits else {holder.id})
