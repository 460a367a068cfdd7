"""arq on a durable Valkey, because it does not support PostgreSQL; its worker runs in this process."""

import asyncio
from contextlib import suppress

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func
from measures import PeerQueue
from typing_extensions import override
from with_valkey import durable_valkey


class Peer(PeerQueue):
    jobs_to_drain = 2000

    @override
    async def open(self, dsn: str) -> None:
        self.server = durable_valkey()
        self.settings = RedisSettings(port=self.server.port)
        self.pool = await create_pool(self.settings)

    @override
    async def close(self) -> None:
        await self.pool.aclose()
        self.server.stop()

    @override
    async def enqueue(self) -> None:
        await self.pool.enqueue_job("noop")

    @override
    async def work(self, *, concurrency: int) -> None:
        async def noop(_context: object) -> None:
            self.ran()

        # By default it polls every half second; at the interval below, as much of its time is polling as with others.
        worker = Worker(
            [func(noop, name="noop")],
            redis_settings=self.settings,
            max_jobs=concurrency,
            poll_delay=0.01,
            handle_signals=False,
        )
        try:
            await worker.async_run()
        finally:
            with suppress(asyncio.CancelledError):
                await worker.close()
