"""SAQ on PostgreSQL, with its own pool."""

from measures import PeerQueue
from saq import Worker
from saq.queue.postgres import PostgresQueue
from typing_extensions import override


class Peer(PeerQueue):
    jobs_to_drain = 2000

    @override
    async def open(self, dsn: str) -> None:
        self.dsn = dsn
        self.queue = PostgresQueue.from_url(dsn)
        await self.queue.connect()

    @override
    async def close(self) -> None:
        await self.queue.disconnect()

    @override
    async def enqueue(self) -> None:
        await self.queue.enqueue("noop")

    @override
    async def work(self, *, concurrency: int) -> None:
        async def noop(_context: object) -> None:
            self.ran()

        # A queue keeps the jobs that it has fetched, so each worker gets a new queue.
        queue = PostgresQueue.from_url(self.dsn)
        await queue.connect()
        worker = Worker(queue, functions=[("noop", noop)], concurrency=concurrency)
        worker.SIGNALS = []
        try:
            await worker.start()
        finally:
            await worker.stop()
            await queue.disconnect()
