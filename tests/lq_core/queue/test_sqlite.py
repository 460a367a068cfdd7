"""The SQLite queue backend passes the suite of queue backends."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from lq_core.contracts import FairnessContract, QueueBackendContract, a_claim, a_record, a_worker, opened
from lq_core.queue import BaseQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend


class TestSQLiteQueueBackend(QueueBackendContract, FairnessContract):
    """The suite."""

    @pytest_asyncio.fixture
    async def queue(self, tmp_path: Path) -> AsyncIterator[BaseQueueBackend]:
        """A new file."""
        settings = SQLiteConfig(path=tmp_path / "lq.db")
        async with opened(SQLiteQueueBackend(settings=settings)) as queue:
            yield queue


async def test_a_due_record_stays_due_when_the_clock_is_set_back(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    clock = [now]
    queue = SQLiteQueueBackend(settings=SQLiteConfig(path=tmp_path / "lq.db"), clock=lambda: clock[0])
    async with opened(queue):
        await queue.register(a_worker("ada"))
        await queue.insert([a_record(created_at=now, scheduled_at=now)])
        clock[0] -= timedelta(hours=1)

        assert len((await queue.claim(a_claim(limit=1))).records) == 1
