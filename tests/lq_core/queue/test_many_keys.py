"""A claim looks at the records that it takes, however many concurrency keys wait."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from lq_core.contracts import a_claim, a_record, a_worker
from lq_core.foundation.clock import utc_now
from lq_core.queue.limits import Allowances, pick
from lq_core.queue.memory.partitions import Partitions, Waiting
from lq_core.queue.messages import QueueState
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend, writing
from lq_core.queue.sqlite.partitions import HeldKeys
from lq_core.queue.sqlite.rows import to_microseconds
from lq_core.records.identity import new_id
from lq_core.records.record import Limits, QueuedTaskRecord, RateLimit

FEW, MANY = 20, 2000
TAKEN = 10


def with_keys(number: int) -> list[QueuedTaskRecord]:
    """Make records with a key each."""
    first = a_record(limits=Limits(concurrency=1))
    return [replace(a_record(), concurrency_key=f"tenant {n}", limits=first.limits) for n in range(number)]


def entries_of_a_claim(records: list[QueuedTaskRecord]) -> int:
    """Count how often a claim in memory looks at an entry."""
    looks = list[Waiting]()

    def is_current(entry: Waiting) -> bool:
        looks.append(entry)
        return True

    at, partitions = utc_now(), Partitions(is_current, lambda entry: entry)
    for record in records:
        partitions.add(record, is_due=record.scheduled_at <= at)
    by_number = {record.id.int: record for record in records}
    (heaps,) = partitions.choose(["local"], open_to=lambda _: True, at=at)
    allowances = Allowances(at, running=lambda _: 0, full_at=lambda _: None)
    limited = list(partitions.limited(heaps, QueueState(), by_number, limit=TAKEN, allowances=allowances))
    picked, _ = pick(limited, TAKEN, allowances)
    assert [entry.number for entry in picked] == [record.id.int for record in records[:TAKEN]]
    assert not partitions.settle()
    return len(looks)


async def statements_of_a_claim(path: Path, records: list[QueuedTaskRecord]) -> int:
    """Count the statements of a claim in SQLite."""
    backend = SQLiteQueueBackend(settings=SQLiteConfig(path=path))
    await backend.open()
    await backend.register(a_worker())
    await backend.insert(records)
    await backend.close()
    statements = list[str]()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.set_trace_callback(statements.append)
        claimed = writing.claim(connection, a_claim(limit=TAKEN), at=utc_now(), held={})
    assert [record.id for record in claimed.records] == [record.id for record in records[:TAKEN]]
    return len(statements)


def test_a_claim_in_memory_looks_at_no_more_records_when_more_keys_wait() -> None:
    assert entries_of_a_claim(with_keys(MANY)) == entries_of_a_claim(with_keys(FEW))


@pytest.mark.asyncio
async def test_a_claim_in_sqlite_runs_no_more_statements_when_more_keys_wait(tmp_path: Path) -> None:
    few = await statements_of_a_claim(tmp_path / "few.db", with_keys(FEW))

    assert await statements_of_a_claim(tmp_path / "many.db", with_keys(MANY)) == few


@pytest.mark.asyncio
async def test_a_claim_in_sqlite_does_not_look_again_at_keys_that_wait_for_a_token(tmp_path: Path) -> None:
    hourly = Limits(rate=RateLimit(1, per=3600))
    records = [replace(record, limits=hourly) for record in with_keys(500) for _ in range(2)]
    records = [replace(record, id=new_id()) for record in records]
    backend = SQLiteQueueBackend(settings=SQLiteConfig(path=tmp_path / "lq.db"))
    await backend.open()
    await backend.register(a_worker())
    await backend.insert(records)
    await backend.close()
    at, held, statements = utc_now(), HeldKeys(), list[str]()

    with closing(sqlite3.connect(tmp_path / "lq.db", isolation_level=None)) as connection:
        first = writing.claim(connection, a_claim(limit=500), at=at, held=held)
        none = writing.claim(connection, a_claim(limit=500), at=at, held=held)
        connection.set_trace_callback(statements.append)
        writing.claim(connection, a_claim(limit=500), at=at, held=held)
        connection.set_trace_callback(None)
        looked_ahead = writing.look_ahead(connection, a_claim(), at=at, held=held)
        later = writing.claim(connection, a_claim(limit=9), at=at + timedelta(hours=1), held=held)

    assert [record.id for record in first.records] == [record.id for record in records[::2]]
    assert none.records == ()
    assert looked_ahead[0] == to_microseconds(at + timedelta(hours=1))
    assert [record.id for record in later.records] == [record.id for record in records[1:18:2]]
    assert len(statements) < 300
