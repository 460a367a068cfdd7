"""Limits in PostgreSQL: what is read to find what may start, and that claims which heed one take turns."""

import asyncio
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from lq_core import StorageError
from lq_core.contracts import a_claim, a_record, a_swap, a_worker, opened
from lq_core.queue import RecordFilter
from lq_core.records.lifecycle import complete
from lq_core.records.record import Dependencies, Limits, QueuedTaskRecord, RateLimit, TaskStatus
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.statements import claiming, due_records, limiting, plain_claiming, reading
from lq_postgres.statements.writing import for_schema
from lq_postgres.storage.finding import conditions, statement_for
from plans import most_rows
from programs import until
from servers import TcpProxy
from servers.fixtures import Database

asyncpg: Any = import_module("asyncpg")

FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)
PARTITIONS = 3
CLAIM: tuple[object, ...] = (None, "lq", "me", "ada", ["local"], None, 20, "running", 1, None, [], [], [], [])
A_CLAIM_KEEPS_BUCKETS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INTO "lq".buckets%'
"""


def of(key: str, priority: int) -> QueuedTaskRecord:
    return a_record(concurrency_key=key, limits=Limits(concurrency=1), priority=priority)


@pytest.fixture
async def crowded(backend: PostgresQueueBackend) -> PostgresQueueBackend:
    """Thousands wait behind a key that is taken, and as many that have none."""
    await backend.register(a_worker())
    await backend.insert([of("ann", 9) for _ in range(3000)])
    await backend.insert([of("ben", 1), of("cyd", 1)])
    await backend.insert([a_record() for _ in range(3000)])
    await backend.claim(a_claim(limit=1))
    return backend


async def test_what_waits_behind_the_first_of_a_key_is_not_read(crowded: PostgresQueueBackend) -> None:
    assert await most_rows(crowded, limiting.FIRSTS_BY_KEY, None, ["local"], None, 200) <= 3 * PARTITIONS


async def test_a_claim_reads_no_more_records_when_more_keys_wait(backend: PostgresQueueBackend) -> None:
    await backend.insert([of(f"tenant {number}", 1) for number in range(3000)])

    assert (
        await most_rows(backend, limiting.FIRSTS_IN_ORDER, None, ["local"], None, 20) <= 20 + 2
    )  # The default queue, and all others.


async def test_a_claim_checks_for_limits_without_reading_waiting_records(crowded: PostgresQueueBackend) -> None:
    assert await most_rows(crowded, claiming.COMPLETE_AND_CLAIM, *CLAIM) <= 1


async def test_the_next_due_time_is_found_without_reading_waiting_records(crowded: PostgresQueueBackend) -> None:
    assert await most_rows(crowded, due_records.NEXT_DUE, ["local"], None, None) <= 2


async def test_the_few_pending_records_of_a_queue_are_found_beside_many_of_another(
    backend: PostgresQueueBackend,
) -> None:
    waiting = [a_record(queue="mail"), a_record(queue="mail", delay=60)]
    await backend.insert([*waiting, *(a_record() for _ in range(3000))])
    pending = RecordFilter(statuses=(TaskStatus.PENDING,), queues=("mail",))

    assert [record.id for record in await backend.find(pending)] == [record.id for record in reversed(waiting)]


@pytest.mark.parametrize("backends", [None, ("local", "cloud")], ids=repr)
async def test_pending_records_are_found_without_reading_those_that_have_ended(
    backend: PostgresQueueBackend, backends: tuple[str, ...] | None
) -> None:
    waiting = [a_record(), a_record(delay=60), of("ann", 1), a_record(blocked=True)]
    ended = [replace(a_record(), status=TaskStatus.COMPLETED, finished_at=backend.now()) for _ in range(3000)]
    await backend.insert([*waiting, *ended])
    pending = RecordFilter(statuses=(TaskStatus.PENDING,), execution_backends=backends)

    assert await most_rows(backend, statement_for(pending), *conditions(pending), LAST, 100) <= 2 * len(waiting)
    assert [record.id for record in await backend.find(pending)] == [record.id for record in reversed(waiting)]


async def test_claims_behind_a_capped_key_take_the_others_at_once(crowded: PostgresQueueBackend) -> None:
    taken = (await crowded.claim(a_claim(limit=4))).records

    assert sorted(record.concurrency_key or "" for record in taken) == ["", "", "ben", "cyd"]


async def test_claims_behind_a_capped_key_take_as_many_records_of_other_queues_as_they_ask_for(
    backend: PostgresQueueBackend,
) -> None:
    await backend.register(a_worker())
    await backend.insert([*(of("ann", 9) for _ in range(500)), *(a_record(queue="mail") for _ in range(20))])
    await backend.claim(a_claim(limit=1))

    assert [len((await backend.claim(a_claim(limit=5))).records) for _ in range(3)] == [5, 5, 5]


@pytest.mark.parametrize("level", ["read committed", "serializable"])
@pytest.mark.parametrize("has_settings", [True, False], ids=["session", "as-behind-pgbouncer"])
async def test_workers_of_different_queues_never_start_more_than_a_key_allows(
    backend: PostgresQueueBackend, database: Database, level: str, has_settings: bool
) -> None:
    _ = database.server.run_sql(f"ALTER DATABASE {database.name} SET default_transaction_isolation = '{level}'")
    names = ("mail", "film", "song", "book")
    settings = PostgresConfig(dsn=database.dsn, poll_only=True, statement_cache=has_settings)
    others = [PostgresQueueBackend(settings=settings) for _ in names]
    for name, other in zip(names, others, strict=True):
        await other.open()
        await other.register(a_worker(name))
    started: list[int] = []

    for _ in range(20):
        await backend.insert([replace(of("ann", 1), queue=name) for name in names])
        claims = [other.claim(a_claim(name, queues=(name,))) for name, other in zip(names, others, strict=True)]
        running = [record for answer in await asyncio.gather(*claims) for record in answer.records]
        started.append(len(running))
        await backend.swap([a_swap(complete(record, result="1", at=backend.now())) for record in running])
    for other in others:
        await other.close()

    assert started == [1] * 20


async def test_a_worker_that_stands_still_in_the_middle_of_a_claim_does_not_stop_the_others(
    backend: PostgresQueueBackend, database: Database
) -> None:
    async def a_claim_waits() -> bool:
        return database.server.run_sql(A_CLAIM_KEEPS_BUCKETS, at=database.dsn) == "1"

    async def another_claims() -> bool:
        with suppress(StorageError):
            return bool((await backend.claim(a_claim("bob"))).records)
        return False

    for name in ("ada", "bob"):
        await backend.register(a_worker(name))
    await backend.insert([a_record(concurrency_key="ann", limits=Limits(rate=RateLimit(1, per=3600)))])
    async with (
        TcpProxy(database.server.host, database.server.port) as proxy,
        asyncpg.create_pool(database.server.dsn(database.name, port=proxy.port), min_size=1, max_size=2) as pool,
        opened(PostgresQueueBackend(settings=PostgresConfig(pool=pool, poll_only=True, command_timeout=60))) as still,
    ):
        async with backend.connections.lent() as connection, connection.transaction():
            _ = await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            _ = await connection.execute("INSERT INTO lq.buckets VALUES ('key', 'ann', now())")
            standing = asyncio.create_task(still.claim(a_claim("ada")))
            await until(a_claim_waits, what="a claim waited for a bucket, while it kept the others waiting")
            proxy.forget()
            _ = await connection.execute("DELETE FROM lq.buckets")

        await until(another_claims, what="another worker claimed")
        _ = standing.cancel()
        _ = await asyncio.wait([standing])
        pool.terminate()


async def test_a_look_at_blocked_records_reads_some_and_the_next_look_goes_on(
    backend: PostgresQueueBackend,
) -> None:
    blocker, ended = a_record(), replace(a_record(), status=TaskStatus.COMPLETED, finished_at=backend.now())
    await backend.insert([blocker, ended])

    def after(record: QueuedTaskRecord) -> QueuedTaskRecord:
        return a_record(after=Dependencies(ids=(record.id,)), blocked=True)

    early = [*(after(blocker) for _ in range(2000)), after(ended)]
    late = [*(after(blocker) for _ in range(1000)), after(ended)]
    await backend.insert([*early, *late])

    _ = await backend.connections.fetch("ANALYZE lq.records")
    assert await most_rows(backend, reading.UNBLOCKED, 100, FIRST) <= 2 * reading.BLOCKED_PAGE
    looks = [await backend.unblocked(limit=100) for _ in range(4)]
    assert [[record.id for record in look.records] for look in looks] == [
        [late[-1].id],
        [late[-1].id],
        [early[-1].id, late[-1].id],
        [late[-1].id],
    ]
    assert all(look.others_wait for look in looks)


async def test_a_claim_from_all_queues_reads_only_what_it_takes(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    await backend.insert([a_record(queue=f"queue {number % 2000}") for number in range(10_000)])

    assert await most_rows(backend, claiming.COMPLETE_AND_CLAIM, *CLAIM) <= 20


@pytest.mark.parametrize("statements", [claiming, plain_claiming], ids=["any", "plain"])
async def test_a_claim_does_not_sort_all_ready_records_whatever_the_statistics_say(
    backend: PostgresQueueBackend, statements: ModuleType
) -> None:
    await backend.register(a_worker())
    await backend.insert([a_record(queue="mail") for _ in range(3000)])
    _ = await backend.connections.fetch("VACUUM ANALYZE lq.records")

    assert await most_rows(backend, statements.COMPLETE_AND_CLAIM, *CLAIM) <= 20


async def test_a_plain_claim_takes_nothing_where_two_partitions_have_records(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    records = [a_record(queue=queue, priority=priority) for priority in (1, 2) for queue in ("default", "mail")]
    await backend.insert(records)

    [answer] = await backend.connections.fetch(plain_claiming.COMPLETE_AND_CLAIM, *CLAIM)
    assert answer[2:4] == (True, False)
    assert answer[5:9] == (None, None, None, None)
    claimed = await backend.claim(a_claim(limit=3))
    assert [record.id for record in claimed.records] == [records[index].id for index in (2, 3, 0)]
    assert [record.id for record in (await backend.claim(a_claim(limit=3))).records] == [records[1].id]


async def test_the_claims_of_a_worker_are_plain_with_all_execution_backends_of_a_process(
    backend: PostgresQueueBackend,
) -> None:
    await backend.register(a_worker())
    await backend.insert([a_record()])

    claimed = await backend.claim(a_claim(execution_backends=("local", "immediate", "process", "cloudrun")))
    assert len(claimed.records) == 1
    prepared = [sql for (sql,) in await backend.connections.fetch("SELECT statement FROM pg_prepared_statements")]
    assert for_schema(plain_claiming.COMPLETE_AND_CLAIM, "lq") in prepared
    assert for_schema(claiming.COMPLETE_AND_CLAIM, "lq") not in prepared


async def test_a_claim_passes_over_many_records_of_a_paused_queue_as_a_whole(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    await backend.insert([a_record(queue="mail") for _ in range(10 * claiming.MANY)])
    waiting = [a_record(queue=f"queue {number % 50}") for number in range(200)]
    await backend.insert(waiting)
    await backend.change_queue("mail", paused=True)

    assert await most_rows(backend, claiming.COMPLETE_AND_CLAIM, *CLAIM) <= claiming.MANY
    # The first twenty were claimed to explain it.
    assert [record.id for record in (await backend.claim(a_claim(limit=20))).records] == [
        one.id for one in waiting[20:40]
    ]


async def test_a_claim_passes_over_few_records_of_paused_queues(backend: PostgresQueueBackend) -> None:
    await backend.register(a_worker())
    waiting = [a_record(queue=f"queue {number % 2000}") for number in range(4000)]
    await backend.insert([*(a_record(queue="mail") for _ in range(100)), *waiting])
    await backend.change_queue("mail", paused=True)

    assert await most_rows(backend, claiming.COMPLETE_AND_CLAIM, *CLAIM) <= 120
    # The first twenty were claimed to explain it.
    assert [record.id for record in (await backend.claim(a_claim(limit=20))).records] == [
        one.id for one in waiting[20:40]
    ]


@pytest.mark.parametrize("queues", [None, ["default"]])
async def test_the_keys_of_paused_and_other_queues_do_not_make_a_claim_limited(
    backend: PostgresQueueBackend, queues: list[str] | None
) -> None:
    await backend.insert([replace(of("ann", 1), queue=name) for name in ("mail", "film") for _ in range(3000)])
    await backend.insert([a_record() for _ in range(30)])
    for name in ("mail", "film"):
        await backend.change_queue(name, paused=True)

    [[due, _, limited]] = await backend.connections.fetch(due_records.NEXT_DUE, ["local"], queues, None)
    assert due is not None
    assert not limited
    assert await most_rows(backend, due_records.NEXT_DUE, ["local"], queues, None) <= 4


async def test_the_next_due_time_is_found_without_reading_what_waits_in_paused_and_other_queues(
    backend: PostgresQueueBackend,
) -> None:
    await backend.insert([a_record(queue="mail", delay=delay) for delay in (0, 60) for _ in range(3000)])
    await backend.insert([a_record(queue="film", delay=120)])
    await backend.change_queue("mail", paused=True)
    _ = await backend.connections.fetch("ANALYZE lq.records")

    for queues in (None, ["film"]):
        assert await most_rows(backend, due_records.NEXT_DUE, ["local"], queues, None) <= 1000
        due = await backend.next_due(replace(a_claim(), queues=queues and tuple(queues)))
        assert due is not None
        assert 0 < (due - backend.now()).total_seconds() < 61
