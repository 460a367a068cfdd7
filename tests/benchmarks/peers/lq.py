"""lq: the service and the worker of an application, with stored results and timeouts."""

from dataclasses import replace

from measures import PeerQueue
from typing_extensions import override

from lq_core import QueueConfig, QueueService, task
from lq_core.worker import Worker
from lq_postgres import PostgresConfig


class Peer(PeerQueue):
    jobs_to_drain = 20_000

    @override
    async def open(self, dsn: str) -> None:
        @task(name="noop", timeout=30)
        async def noop() -> bool:
            self.ran()
            return True

        self.task = noop
        self.config = QueueConfig(queue_backend=PostgresConfig(dsn=dsn))
        self.service = await QueueService(self.config).open()

    @override
    async def close(self) -> None:
        await self.service.close()

    @override
    async def enqueue(self) -> None:
        await self.service.enqueue(self.task)

    @override
    async def enqueue_many(self, size: int) -> bool:
        for start in range(0, size, 1000):
            await self.service.enqueue_many([self.task.call() for _ in range(min(1000, size - start))])
        return True

    @override
    async def work(self, *, concurrency: int) -> None:
        async with QueueService(replace(self.config, concurrency=concurrency)) as service:
            await Worker(service).run()
