"""What the log says while the database is away: everything once, and then little."""

import asyncio
from collections.abc import Sequence

import pytest
from typing_extensions import override

from fake_clock import Time, run_with_fake_clock
from lq_core import QueueConfig, QueuedTaskRecord, QueueService, Worker, task
from lq_core.foundation.errors import StorageError
from lq_core.queue.memory import InMemoryQueueBackend

CONFIG = QueueConfig(heartbeat_interval=10, heartbeat_timeout=10_000, shutdown_grace=0.1)
OUTAGE = 600.0


class Fickle(InMemoryQueueBackend):
    """A database that may be away."""

    is_away = False

    @override
    async def beat(self, worker_id: str) -> bool:
        self._refuse()
        return await super().beat(worker_id)

    @override
    async def cancel_requests(self) -> Sequence[QueuedTaskRecord]:
        self._refuse()
        return await super().cancel_requests()

    def _refuse(self) -> None:
        if self.is_away:
            raise StorageError("The database is away.")


@task(name="outage_log.linger")
async def linger() -> None:
    await asyncio.sleep(10 * OUTAGE)  # By a clock that leaps.


def test_an_outage_is_told_with_its_traceback_once_and_then_in_lines_that_get_rarer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(time: Time) -> None:
        queue = Fickle(CONFIG, clock=time.now)
        async with QueueService(CONFIG, queue_backend=queue) as service, Worker(service):
            _ = await service.enqueue(linger)
            await asyncio.sleep(1)  # By a clock that leaps.
            for is_away in (True, False, True):
                queue.is_away = is_away
                await asyncio.sleep(OUTAGE)  # As above.

    run_with_fake_clock(scenario)

    for event, most in (("worker.beat_failed", OUTAGE / 10), ("worker.watch_failed", OUTAGE / 8 + 8)):
        told = [entry for entry in caplog.records if vars(entry).get("event") == event]
        assert len([entry for entry in told if entry.exc_info]) == 2, event
        assert 2 < len(told) <= 2 * most, event
