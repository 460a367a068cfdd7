"""litestar-queues on PostgreSQL by SQLSpec and asyncpg, with the wake-ups that its documentation recommends."""

from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.config import QueueConfig, WorkerConfig
from litestar_queues.service import QueueService
from litestar_queues.task import task
from litestar_queues.worker import Worker
from measures import PeerQueue
from sqlspec.adapters.asyncpg import AsyncpgConfig
from typing_extensions import override


class Peer(PeerQueue):
    jobs_to_drain = 1000

    @override
    async def open(self, dsn: str) -> None:
        @task("noop")
        async def noop() -> None:
            self.ran()

        self.task = noop
        pool = AsyncpgConfig(connection_config={"dsn": dsn, "min_size": 4, "max_size": 20})
        config = QueueConfig(queue_backend=SQLSpecBackendConfig(sqlspec_config=pool))
        self.service = await QueueService(config).open()
        await self.service.get_queue_backend().create_schema()

    @override
    async def close(self) -> None:
        await self.service.close()

    @override
    async def enqueue(self) -> None:
        await self.service.enqueue(self.task)

    @override
    async def work(self, *, concurrency: int) -> None:
        config = WorkerConfig(max_concurrency=concurrency, batch_size=concurrency, hard_exit_timeout=None)
        worker = Worker(self.service, config)
        try:
            await worker.start()
        finally:
            await worker.stop(force=True)
