"""A search by status finds the same records, whichever way SQLite takes to them."""

from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import UUID

import pytest
from msgspec.structs import replace

from lq_core import RecordFilter, TaskStatus
from lq_core.contracts import a_record, opened
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend, reading
from lq_core.records.lifecycle import cancel

CANCELLED = RecordFilter(statuses=(TaskStatus.CANCELLED,))


async def newest_first(queue: SQLiteQueueBackend) -> AsyncGenerator[UUID]:
    """The ids of all cancelled records, read in pages of three."""
    before = None
    while page := await queue.find(CANCELLED, limit=3, before=before):
        for record in page:
            yield record.id
        before = page[-1].id


@pytest.mark.parametrize("walked", [0, 4, 8, 11, 100])
@pytest.mark.parametrize("few, many", [(100, 100), (2, 100), (2, 3)], ids=["few", "walk, then few", "walk"])
async def test_old_records_of_a_status_are_found_page_by_page_behind_newer_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int, many: int, walked: int
) -> None:
    monkeypatch.setattr(reading, "FEW", few)
    monkeypatch.setattr(reading, "MANY", many)
    monkeypatch.setattr(reading, "WALKED", walked)
    records = [a_record() for _ in range(20)]
    old = [cancel(record, at=record.created_at) for record in [*records[:6], records[8]]]
    async with opened(SQLiteQueueBackend(settings=SQLiteConfig(path=tmp_path / "lq.db"))) as queue:
        await queue.insert([*old, *(record for record in records if record.id not in {one.id for one in old})])

        found = [record_id async for record_id in newest_first(queue)]
        newest = await queue.find(replace(CANCELLED, newest=14), limit=10)

    assert found == [record.id for record in old[::-1]]
    assert [record.id for record in newest] == [records[8].id]
