"""SQLite finds every record that comes after another one, also those that have ended."""

from pathlib import Path

from msgspec.structs import replace

from lq_core import TaskStatus
from lq_core.contracts import a_record, opened
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from lq_core.records.record import Dependencies


async def test_successors_that_have_ended_are_found_too(tmp_path: Path) -> None:
    first = a_record()
    waits, ended = (a_record(blocked=True, after=Dependencies(ids=(first.id,))) for _ in range(2))
    ended = replace(ended, blocked=False, status=TaskStatus.COMPLETED, finished_at=ended.created_at)
    async with opened(SQLiteQueueBackend(settings=SQLiteConfig(path=tmp_path / "lq.db"))) as queue:
        await queue.insert([first, waits, ended])

        assert await queue.successors(first.id, limit=10) == [waits, ended]
