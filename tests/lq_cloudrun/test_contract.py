"""Cloud Run passes the contract of execution backends, on every queue backend that its containers can reach."""

from collections.abc import AsyncGenerator

import pytest

from cloud import Cloud, cloud
from lq_cloudrun import CloudRunExecutionBackend
from lq_core import BaseExecutionBackend, QueueConfig, QueuedTaskRecord, QueueService, get_execution_backend
from lq_core.contracts import ExecutionBackendContract

TASKS = {"SHOP_HEARTBEAT": "0.2", "LITESTAR_QUEUES_TASK_MODULES": "lq_core.execution.probes"}


@pytest.fixture
async def sky(queue: QueueConfig, address: str) -> AsyncGenerator[Cloud]:
    async with cloud(queue, address, env=TASKS) as opened:
        yield opened


class TestCloudRunExecutionBackend(ExecutionBackendContract):
    name = "cloudrun"
    external = True
    emulated: Cloud

    @pytest.fixture
    def service(self, sky: Cloud) -> QueueService:
        self.emulated = sky
        return sky.service

    @pytest.fixture
    async def backend(self, sky: Cloud) -> BaseExecutionBackend:
        return await sky.backend()

    async def ended(self, service: QueueService, record: QueuedTaskRecord) -> QueuedTaskRecord:
        """Wait until all containers have ended, and read the records."""
        emulator = self.emulated.emulator
        await emulator.wait_until(lambda: all(emulator.phase(name).over for name in emulator.executions()))
        return await super().ended(service, record)

    async def executor_dies_before_its_claim(self, service: QueueService, backend: BaseExecutionBackend) -> None:
        self.emulated.emulator.faults.fail_image("shop")


def test_it_is_found_by_its_short_name_without_a_configuration() -> None:
    assert isinstance(get_execution_backend("cloudrun"), CloudRunExecutionBackend)
