"""The SQLite queue backend passes the suite of queue backends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from lq_core.queue import BaseQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from lq_core.testing import QueueBackendContract, opened


class TestSQLiteQueueBackend(QueueBackendContract):
    """The suite."""

    @pytest_asyncio.fixture
    async def queue(self, tmp_path: Path) -> AsyncIterator[BaseQueueBackend]:
        """A new file."""
        settings = SQLiteConfig(path=tmp_path / "lq.db")
        async with opened(SQLiteQueueBackend(settings=settings)) as queue:
            yield queue
