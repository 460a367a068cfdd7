"""Limits in PostgreSQL: what is read to find what may start, and that claims which heed one take turns."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from lq_core import StorageError
from lq_core.lifecycle import complete
from lq_core.record import Limits, QueuedTaskRecord, RateLimit
from lq_core.testing import a_claim, a_record, a_swap, a_worker, opened
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.statements import claiming, limiting
from lq_postgres.statements.writing import for_schema
from programs import until
from servers import TcpProxy
from servers.fixtures import Database

asyncpg: Any = import_module("asyncpg")

LANES = 3
CLAIM: tuple[object, ...] = (None, "lq", "me", "ada", ["local"], None, 20, "running", 1, 1, None, [], [], [], [])
A_CLAIM_KEEPS_BUCKETS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INTO "lq".buckets%'
"""


def of(key: str, priority: int) -> QueuedTaskRecord:
    return a_record(concurrency_key=key, limits=Limits(concurrency=1), priority=priority)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps of a plan."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def most_rows(backend: PostgresQueueBackend, sql: str, *parameters: object) -> float:
    """Run a statement, and tell how many rows its widest step has brought or passed over."""
    async with backend.connections.lent() as connection:
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {for_schema(sql, 'lq')}"
        [row] = await connection.fetch(explained, *parameters)
    [plan] = json.decode(row[0], type=list[dict[str, Any]])
    return max(
        (step["Actual Rows"] + step.get("Rows Removed by Filter", 0)) * step["Actual Loops"]
        for step in nodes(plan["Plan"])
    )


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
    assert await most_rows(crowded, limiting.FIRSTS, None, ["local"], None) <= 3 * LANES


async def test_whether_anything_is_limited_is_told_without_reading_what_waits(crowded: PostgresQueueBackend) -> None:
    assert await most_rows(crowded, claiming.COMPLETE_AND_CLAIM, *CLAIM) <= 1


async def test_when_the_next_is_due_is_told_without_reading_what_waits(crowded: PostgresQueueBackend) -> None:
    assert await most_rows(crowded, claiming.NEXT_DUE, ["local"], None, None) <= 2


async def test_claims_behind_a_capped_key_take_the_others_at_once(crowded: PostgresQueueBackend) -> None:
    taken = (await crowded.claim(a_claim(limit=4))).records

    assert sorted(record.concurrency_key or "" for record in taken) == ["", "", "ben", "cyd"]


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
