"""A worker that lives but cannot claim gives up its records, and says so."""

import asyncio
from collections.abc import Sequence

from typing_extensions import override

import shop
from fake_clock import Time, run_with_fake_clock
from lq_core import QueueConfig, QueueService, StorageError, TaskStatus, Worker
from lq_core.observability.probes import probes
from lq_core.queue import Claim, Claimed, Swap
from lq_core.queue.memory import InMemoryQueueBackend

CONFIG = QueueConfig(heartbeat_interval=1.0, heartbeat_timeout=10.0, poll_interval=0.5)


class RefusesClaims(InMemoryQueueBackend):
    """A database whose claims fail while *broken*; everything else works."""

    broken = False

    @override
    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        if self.broken and claim is not None:
            raise StorageError("The index is damaged.")
        return await super().settle_and_claim(swaps, claim)


async def until_it_gives_up(queue: RefusesClaims, time: Time) -> None:
    while not any(info.has_given_up for info in await queue.workers()):
        assert time.passed < 60
        await asyncio.sleep(0.5)  # By the fake clock.


def test_a_worker_whose_claims_fail_gives_up_its_records_and_says_so() -> None:
    async def scenario(time: Time) -> None:
        queue, gate = RefusesClaims(CONFIG, clock=time.now), shop.new_gate()
        async with QueueService(CONFIG, queue_backend=queue) as service, Worker(service) as worker:
            sent = await service.enqueue(shop.wait_at_gate)
            while not gate.begun.is_set():  # noqa: ASYNC110 -- the gate is for threads
                await asyncio.sleep(0.1)  # By the fake clock.
            queue.broken = True
            (before,) = await queue.workers()

            await until_it_gives_up(queue, time)

            (after,) = await queue.workers()
            assert after.id != before.id
            assert worker.trouble is not None
            assert "StorageError: The index is damaged." in worker.trouble
            findings = {finding.check: finding for finding in await queue.diagnose()}
            assert findings["workers"].level == "warning"
            assert after.id in findings["workers"].found
            assert (await probes(service, worker)["/readyz"]()).status == 503

            queue.broken = False
            gate.opened.set()
            assert await sent.wait(timeout=60) == "passed"
            assert worker.trouble is None
            assert [info.has_given_up for info in await queue.workers()] == [False]
            assert (sent.record.status, sent.record.attempt, sent.record.losses) == (TaskStatus.COMPLETED, 2, 1)
            assert gate.ended == ["cancelled", "passed"]

    run_with_fake_clock(scenario)
