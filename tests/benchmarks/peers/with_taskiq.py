"""Taskiq with the broker and the stored results of taskiq-postgres, both on asyncpg."""

from measures import PeerQueue
from taskiq.api import run_receiver_task
from taskiq.serializers.json_serializer import JSONSerializer
from taskiq_pg.asyncpg import AsyncpgBroker, AsyncpgResultBackend
from typing_extensions import override


class Peer(PeerQueue):
    jobs_to_drain = 2000

    @override
    async def open(self, dsn: str) -> None:
        results = AsyncpgResultBackend(dsn, serializer=JSONSerializer())
        self.broker = AsyncpgBroker(dsn).with_result_backend(results)
        await self.broker.startup()

        @self.broker.task(task_name="noop")
        async def noop() -> None:
            self.ran()

        self.task = noop

    @override
    async def close(self) -> None:
        await self.broker.shutdown()

    @override
    async def enqueue(self) -> None:
        await self.task.kiq()

    @override
    async def work(self, *, concurrency: int) -> None:
        await run_receiver_task(self.broker, max_async_tasks=concurrency)
