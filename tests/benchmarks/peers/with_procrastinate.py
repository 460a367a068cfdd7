"""Procrastinate on psycopg, with its own pool."""

from measures import PeerQueue
from procrastinate import App, PsycopgConnector
from typing_extensions import override


class Peer(PeerQueue):
    @override
    async def open(self, dsn: str) -> None:
        self.app = App(connector=PsycopgConnector(conninfo=dsn, min_size=4, max_size=20))
        await self.app.open_async()
        await self.app.schema_manager.apply_schema_async()

        @self.app.task(name="noop")
        async def noop() -> None:
            self.ran()

        self.task = noop

    @override
    async def close(self) -> None:
        await self.app.close_async()

    @override
    async def enqueue(self) -> None:
        await self.task.defer_async()

    @override
    async def enqueue_many(self, size: int) -> bool:
        for _ in range(0, size, 1000):
            await self.task.batch_defer_async(*({} for _ in range(1000)))
        return True

    @override
    async def work(self, *, concurrency: int) -> None:
        await self.app.run_worker_async(concurrency=concurrency, install_signal_handlers=False)
