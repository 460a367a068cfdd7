"""What a role may do with which grants: those that the documentation lists, and no others."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from lq_core.contracts import a_claim, a_record, a_swap, a_worker, opened
from lq_core.foundation.errors import StorageError
from lq_core.queue.messages import Proposal
from lq_core.records.lifecycle import complete
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers.fixtures import Database

ENQUEUE = ["USAGE ON SCHEMA lq", "SELECT ON lq.migrations", "INSERT ON lq.records"]
ENQUEUE_WITH_KEYS = [*ENQUEUE, "SELECT ON lq.records"]
WORK = ["USAGE ON SCHEMA lq", "SELECT ON lq.migrations", "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA lq"]


@pytest.fixture
def clerk(backend: PostgresQueueBackend, database: Database) -> Iterator[str]:
    """A role without any grant, in a database with the schema."""
    name = f"clerk_{database.name}"
    _ = database.server.run_sql(f"CREATE ROLE {name} LOGIN", at=database.dsn)
    yield name
    _ = database.server.run_sql(f"DROP OWNED BY {name}; DROP ROLE {name}", at=database.dsn)


def granted(grants: list[str], clerk: str, database: Database) -> PostgresQueueBackend:
    """The queue as the clerk uses it, who has been granted this."""
    _ = database.server.run_sql("; ".join(f"GRANT {grant} TO {clerk}" for grant in grants), at=database.dsn)
    dsn = database.dsn.replace("postgres@", f"{clerk}@")
    return PostgresQueueBackend(settings=PostgresConfig(dsn=dsn, auto_migrate=False))


async def test_a_role_that_may_only_insert_enqueues_and_reads_nothing(
    backend: PostgresQueueBackend, database: Database, clerk: str
) -> None:
    alike = [a_record(), a_record(delay=60)]
    mixed = [a_record(queue="mail"), a_record(priority=5)]
    await backend.wait_for_work(backend.changes, timeout=10)  # It listens from now on, and says so.
    changes = backend.changes
    async with opened(granted(ENQUEUE, clerk, database)) as enqueuer:
        stored = [*await enqueuer.insert_many(alike), *await enqueuer.insert_many(mixed)]
        with pytest.raises(StorageError, match=r"permission denied for table records.*docs/postgres.md"):
            _ = await enqueuer.get(alike[0].id)
        with pytest.raises(StorageError, match="permission denied"):
            _ = await enqueuer.insert([a_record(key="once")])
    await backend.wait_for_work(changes, timeout=10)

    assert [insertion.created for insertion in stored] == [True] * 4
    assert len(await backend.get_many([record.id for record in alike + mixed])) == 4
    assert backend.changes > changes


async def test_a_role_that_may_also_read_enqueues_with_keys(
    backend: PostgresQueueBackend, database: Database, clerk: str
) -> None:
    async with opened(granted(ENQUEUE_WITH_KEYS, clerk, database)) as enqueuer:
        first, second = await enqueuer.insert([a_record(key="once"), a_record(key="once")])

        assert (first.created, second.created) == (True, False)
        assert await enqueuer.get(first.record.id) == first.record
        with pytest.raises(StorageError, match="permission denied"):
            await enqueuer.change_queue("mail", paused=True)


async def test_a_role_that_may_also_update_takes_the_key_of_an_expired_record(
    backend: PostgresQueueBackend, database: Database, clerk: str
) -> None:
    _ = await backend.insert([a_record(key="once", expires_at=backend.now() - timedelta(seconds=5))])
    async with opened(granted([*ENQUEUE_WITH_KEYS, "UPDATE ON lq.records"], clerk, database)) as enqueuer:
        [insertion] = await enqueuer.propose([Proposal(a_record(key="once"))])

    assert insertion.created


async def test_a_worker_needs_nothing_of_the_schema_but_its_rows(
    backend: PostgresQueueBackend, database: Database, clerk: str
) -> None:
    _ = await backend.insert([a_record()])
    async with opened(granted(WORK, clerk, database)) as working:
        await working.register(a_worker())
        [record] = (await working.claim(a_claim())).records
        assert await working.swap([a_swap(complete(record, result="1", at=working.now()))]) == [True]
        assert [finding.advice for finding in await working.diagnose() if finding.advice] == []
