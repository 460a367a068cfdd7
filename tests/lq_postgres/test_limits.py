"""Limits in PostgreSQL: what is read to find what may start, and that claims which heed one take turns."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from lq_core.lifecycle import complete
from lq_core.record import Limits, QueuedTaskRecord
from lq_core.testing import a_claim, a_record, a_swap, a_worker
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.statements import claiming, limiting
from lq_postgres.statements.writing import for_schema
from servers.fixtures import Database

LANES = 3
CLAIM: tuple[object, ...] = (None, "lq", "me", "ada", ["local"], None, 20, "running", 1, 1, [], [], [], [], [])


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


async def test_workers_of_different_queues_never_start_more_than_a_key_allows(
    backend: PostgresQueueBackend, database: Database
) -> None:
    names = ("mail", "film", "song", "book")
    others = [PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True)) for _ in names]
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
