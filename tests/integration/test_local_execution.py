"""Both local execution backends keep their contract on PostgreSQL; tests/lq_local holds them to it on the others."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from lq_core import BaseExecutionBackend, QueueConfig, QueueService
from lq_core.contracts import ExecutionBackendContract
from lq_postgres import PostgresConfig
from servers import PostgresServer


class OnPostgres(ExecutionBackendContract):
    @pytest.fixture
    async def service(self, postgres: PostgresServer) -> AsyncIterator[QueueService]:
        store = PostgresConfig(dsn=postgres.create_database(f"contract_{uuid4().hex}"))
        async with QueueService(QueueConfig(queue_backend=store, execution_backend=self.name)) as service:
            yield service

    @pytest.fixture
    async def backend(self, service: QueueService) -> BaseExecutionBackend:
        return await service.execution_backend(self.name)


class TestLocalOnPostgres(OnPostgres):
    name = "local"


class TestImmediateOnPostgres(OnPostgres):
    name = "immediate"
