"""A search by status finds the same records, whichever way SQLite takes to them."""

from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import UUID

import pytest
from msgspec.structs import replace

from lq_core import QueuedTaskRecord, RecordFilter, TaskStatus
from lq_core.contracts import a_record, opened
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend, reading

ENDED = {
    "one that is walked": RecordFilter(statuses=(TaskStatus.COMPLETED,)),
    "one with an index": RecordFilter(statuses=(TaskStatus.CANCELLED,)),
    "several with an index": RecordFilter(statuses=(TaskStatus.FAILED, TaskStatus.CANCELLED)),
}


def ended(record: QueuedTaskRecord, status: TaskStatus) -> QueuedTaskRecord:
    return replace(record, status=status, started_at=record.created_at, finished_at=record.created_at)


async def newest_first(queue: SQLiteQueueBackend, condition: RecordFilter) -> AsyncGenerator[UUID]:
    """The ids of all records that match, read in pages of three."""
    before = None
    while page := await queue.find(condition, limit=3, before=before):
        for record in page:
            yield record.id
        before = page[-1].id


@pytest.mark.parametrize("condition", ENDED.values(), ids=ENDED)
@pytest.mark.parametrize("walked", [0, 4, 8, 11, 100])
@pytest.mark.parametrize("few, many", [(100, 100), (2, 100), (2, 3)], ids=["few", "walk, then few", "walk"])
async def test_old_records_of_a_status_are_found_page_by_page_behind_newer_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, few: int, many: int, walked: int, condition: RecordFilter
) -> None:
    monkeypatch.setattr(reading, "FEW", few)
    monkeypatch.setattr(reading, "MANY", many)
    monkeypatch.setattr(reading, "WALKED", walked)
    records = [a_record() for _ in range(20)]
    statuses = condition.statuses or ()
    old = [ended(record, statuses[number % len(statuses)]) for number, record in enumerate([*records[:6], records[8]])]
    async with opened(SQLiteQueueBackend(settings=SQLiteConfig(path=tmp_path / "lq.db"))) as queue:
        await queue.insert([*old, *(record for record in records if record.id not in {one.id for one in old})])

        found = [record_id async for record_id in newest_first(queue, condition)]
        oldest = await queue.find(condition, limit=3, after=old[1].id)
        newest = await queue.find(replace(condition, newest=14), limit=10)

    assert [record.id for record in oldest] == [record.id for record in old[2:5]]
    assert found == [record.id for record in old[::-1]]
    assert [record.id for record in newest] == [records[8].id]
