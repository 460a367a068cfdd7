"""PostgreSQL keeps every promise of a queue backend, on each version here."""

from collections.abc import AsyncIterator

import pytest
from typing_extensions import override

from lq_core.contracts import FairnessContract, QueueBackendContract, opened
from lq_core.queue import BaseQueueBackend
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers.fixtures import Database


class TestPostgresQueueBackend(QueueBackendContract, FairnessContract):
    @override
    @pytest.fixture
    async def queue(self, emptied_database: Database) -> AsyncIterator[BaseQueueBackend]:
        async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=emptied_database.dsn))) as queue:
            yield queue
