"""What a turn costs: as much as it gives, however many records and keys wait."""

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from lq_core.contracts import a_claim, a_record, a_worker
from lq_core.foundation.clock import utc_now
from lq_core.queue.fairness import Tenant
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.memory.fairness import WaitingTurns
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend, writing
from lq_core.records.record import FAIRNESS_KEY, QueuedTaskRecord

pytestmark = pytest.mark.asyncio


def of(key: str, **changes: object) -> QueuedTaskRecord:
    """Make a record with a fairness key."""
    return replace(a_record(), metadata={FAIRNESS_KEY: key}, **changes)


async def statements_of(path: Path, waiting: list[QueuedTaskRecord], new: list[QueuedTaskRecord]) -> list[str]:
    """List the statements of an insert and a claim in SQLite beside waiting records."""
    backend = SQLiteQueueBackend(settings=SQLiteConfig(path=path))
    await backend.open()
    await backend.register(a_worker())
    await backend.insert(waiting)
    await backend.close()
    statements = list[str]()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.set_trace_callback(statements.append)
        writing.insert(connection, new, at=utc_now())
        writing.claim(connection, a_claim(limit=1), at=utc_now(), held={})
    return statements


async def test_a_record_in_sqlite_gets_its_turn_with_no_more_statements_when_more_wait(tmp_path: Path) -> None:
    few = await statements_of(tmp_path / "few.db", [of("large") for _ in range(20)], [of("small")])
    keys = [of(f"tenant {number}") for number in range(1000)]
    many = await statements_of(tmp_path / "many.db", [*(of("large") for _ in range(1000)), *keys], [of("small")])

    assert len(many) == len(few)


async def test_without_fairness_keys_sqlite_reads_no_turn(tmp_path: Path) -> None:
    soon = utc_now() - timedelta(seconds=0.5)
    waiting = [a_record(metadata={"a": "b"}), a_record(created_at=soon - timedelta(1), scheduled_at=soon)]

    statements = await statements_of(tmp_path / "lq.db", waiting, [a_record(metadata={"a": "b"})])

    assert not [one for one in statements if "records_turns" in one or "records_last_turns" in one]


async def test_damaged_metadata_do_not_stop_a_write(tmp_path: Path) -> None:
    path, record = tmp_path / "lq.db", of("a")
    await statements_of(path, [record, a_record()], [])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE records SET metadata = '{\"lq.fairness_key\":' WHERE id = ?", (record.id.bytes,))
    backend = SQLiteQueueBackend(settings=SQLiteConfig(path=path))
    await backend.open()

    taken = await backend.claim(a_claim())
    await backend.close()

    assert len(taken.records) == 1


async def test_memory_forgets_the_turns_of_records_that_have_gone() -> None:
    backend = InMemoryQueueBackend()
    await backend.register(a_worker())
    await backend.insert([of(f"tenant {number}") for number in range(50)])
    await backend.claim(a_claim())
    await backend.insert([replace(of("a"), metadata={})])

    assert _kept(backend._index._turns) == 0  # pyright: ignore[reportPrivateUsage] -- nothing else shows it


async def test_turns_without_records_are_dropped_also_behind_one_that_stays() -> None:
    turns, tenant, at = WaitingTurns(), Tenant("local", "default", 0, "a"), utc_now()
    turns.give(0, tenant, due=at, is_new=True)
    for number in range(1, 5000):
        turns.give(number, tenant, due=at + timedelta(seconds=number), is_new=True)
        turns.take_back(number)

    assert _kept(turns) < 500


def _kept(turns: WaitingTurns) -> int:
    moments: list[list[datetime]] = [shared._moments for shared in turns._shared.values()]  # pyright: ignore[reportPrivateUsage] -- as above
    return sum(map(len, moments))
