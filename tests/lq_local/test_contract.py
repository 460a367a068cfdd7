"""The three backends that run records where their worker is keep the contract, on both queue backends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lq_core import BaseExecutionBackend, QueueConfig, QueueService
from lq_core.config.queue_config import ExecutionBackendConfig
from lq_core.contracts import ExecutionBackendContract
from lq_core.queue.sqlite import SQLiteConfig
from lq_local import ImmediateExecutionBackend, LocalExecutionBackend, ProcessExecutionBackend, ProcessExecutionConfig


class OnEveryQueueBackend(ExecutionBackendContract):
    execution: ExecutionBackendConfig

    @pytest_asyncio.fixture(params=["memory", "sqlite"])
    async def service(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[QueueService]:
        store = SQLiteConfig(path=tmp_path / "lq.db") if request.param == "sqlite" else "memory"
        config = QueueConfig(
            queue_backend=store, execution_backend=self.execution, task_modules=("lq_core.execution.probes",)
        )
        async with QueueService(config) as service:
            yield service

    @pytest_asyncio.fixture
    async def backend(self, service: QueueService) -> BaseExecutionBackend:
        return await service.execution_backend(self.name)


class TestLocalExecutionBackend(OnEveryQueueBackend):
    name = execution = "local"

    def test_it_is_found_by_its_short_name(self, backend: BaseExecutionBackend) -> None:
        assert isinstance(backend, LocalExecutionBackend)


class TestImmediateExecutionBackend(OnEveryQueueBackend):
    name = execution = "immediate"

    def test_it_is_found_by_its_short_name(self, backend: BaseExecutionBackend) -> None:
        assert isinstance(backend, ImmediateExecutionBackend)


class TestProcessExecutionBackend(OnEveryQueueBackend):
    name = "process"
    execution = ProcessExecutionConfig(processes=2)
    dies_alone = True

    def test_it_is_found_by_its_short_name(self, backend: BaseExecutionBackend) -> None:
        assert isinstance(backend, ProcessExecutionBackend)
