"""When a container in pull mode leaves, in the process of the test."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from typing_extensions import override

import container_tasks as shop
from lq_cloudrun import CloudRunExecutionConfig, CloudRunExitCode, execute_cloudrun_task
from lq_core import QueueService, TaskStatus
from lq_core.queue import Claim, Claimed, Swap
from lq_core.queue.memory import InMemoryQueueBackend


class AnswersLate(InMemoryQueueBackend):
    """A database that answers a claim only when the container has asked what is due next."""

    def __init__(self) -> None:
        super().__init__(shop.IN_MEMORY)
        self.has_taken, self.has_looked = asyncio.Event(), asyncio.Event()

    @override
    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        kept, claimed = await super().settle_and_claim(swaps, claim)
        if claimed.records and not self.has_taken.is_set():
            self.has_taken.set()
            async with asyncio.timeout(60):
                await self.has_looked.wait()
        return kept, claimed

    @override
    async def next_due(self, claim: Claim) -> datetime | None:
        due = await super().next_due(claim)
        if self.has_taken.is_set():
            self.has_looked.set()
        return due


async def test_a_container_does_not_leave_while_its_claim_is_unanswered(tmp_path: Path) -> None:
    config = replace(shop.IN_MEMORY, execution_backend=CloudRunExecutionConfig("shop", job_name="shop"))
    order = '{"job": "shop", "concurrency": 1, "pull_time": 60, "timeout": 60, "max_interruptions": 3}'
    backend = AnswersLate()
    async with QueueService(config, queue_backend=backend) as service:
        await service.enqueue(shop.wait_for, str(tmp_path / "go on"))
        container = asyncio.create_task(execute_cloudrun_task(service=service, env={"LITESTAR_QUEUES_PULL": order}))
        await backend.has_looked.wait()
        late = await service.enqueue(shop.add, 1, second=2)
        (tmp_path / "go on").touch()

        assert await container is CloudRunExitCode.SUCCESS
        assert (await late.refresh()).status is TaskStatus.COMPLETED
