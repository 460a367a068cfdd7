"""PgQueuer on asyncpg, its worker's batch as large as its concurrency."""

from datetime import timedelta

import asyncpg
from measures import PeerQueue
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from typing_extensions import override


class Peer(PeerQueue):
    jobs_to_drain = 20_000

    @override
    async def open(self, dsn: str) -> None:
        self.dsn = dsn
        self.connection = await asyncpg.connect(dsn)
        self.queries = Queries(AsyncpgDriver(self.connection))
        await self.queries.install()

    @override
    async def close(self) -> None:
        await self.connection.close()

    @override
    async def enqueue(self) -> None:
        await self.queries.enqueue("noop", b"{}")

    @override
    async def enqueue_many(self, size: int) -> bool:
        for _ in range(0, size, 1000):
            await self.queries.enqueue(["noop"] * 1000, [b"{}"] * 1000, [0] * 1000)
        return True

    @override
    async def work(self, *, concurrency: int) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            worker = PgQueuer(AsyncpgDriver(connection))

            @worker.entrypoint("noop")
            async def noop(_job: object) -> None:
                self.ran()

            # It needs room for two batches, so it can run twice as many jobs at once as the others.
            await worker.run(
                dequeue_timeout=timedelta(seconds=1), batch_size=concurrency, max_concurrent_tasks=2 * concurrency
            )
        finally:
            await connection.close()
