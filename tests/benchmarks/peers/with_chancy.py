"""Chancy with its executor for async functions, which runs them in the worker's event loop."""

from chancy import Chancy, Queue, Worker, job
from measures import PeerQueue
from typing_extensions import override

RUNNING: list[PeerQueue] = []


@job()
async def noop() -> None:
    RUNNING[-1].ran()


class Peer(PeerQueue):
    jobs_to_drain = 2000

    @override
    async def open(self, dsn: str) -> None:
        RUNNING.append(self)
        self.chancy = Chancy(dsn, min_connection_pool_size=4, max_connection_pool_size=20)
        await self.chancy.__aenter__()
        await self.chancy.migrate()

    @override
    async def close(self) -> None:
        await self.chancy.__aexit__(None, None, None)

    @override
    async def enqueue(self) -> None:
        await self.chancy.push(noop.job)

    @override
    async def enqueue_many(self, size: int) -> bool:
        async for _ in self.chancy.push_many([noop.job] * size):
            pass
        return True

    @override
    async def work(self, *, concurrency: int) -> None:
        queue = Queue("default", concurrency=concurrency, executor=Chancy.Executor.Async, eager_polling=True)
        await self.chancy.declare(queue, upsert=True)
        async with Worker(self.chancy, register_signal_handlers=False) as worker:
            await worker.wait_for_shutdown()
