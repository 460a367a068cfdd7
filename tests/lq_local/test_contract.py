"""Both local execution backends keep the contract, on both queue backends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lq_core import BaseExecutionBackend, QueueConfig, QueueService
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.testing import ExecutionBackendContract
from lq_local import ImmediateExecutionBackend, LocalExecutionBackend


class OnEveryQueueBackend(ExecutionBackendContract):
    @pytest_asyncio.fixture(params=["memory", "sqlite"])
    async def service(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[QueueService]:
        store = SQLiteConfig(path=tmp_path / "lq.db") if request.param == "sqlite" else "memory"
        async with QueueService(QueueConfig(queue_backend=store, execution_backend=self.name)) as service:
            yield service

    @pytest_asyncio.fixture
    async def backend(self, service: QueueService) -> BaseExecutionBackend:
        return await service.execution_backend(self.name)


class TestLocalExecutionBackend(OnEveryQueueBackend):
    name = "local"

    def test_it_is_found_by_its_short_name(self, backend: BaseExecutionBackend) -> None:
        assert isinstance(backend, LocalExecutionBackend)


class TestImmediateExecutionBackend(OnEveryQueueBackend):
    name = "immediate"

    def test_it_is_found_by_its_short_name(self, backend: BaseExecutionBackend) -> None:
        assert isinstance(backend, ImmediateExecutionBackend)
