"""Oban for Python on psycopg, its pool as large as its documentation makes it; its queue runs in this process."""

from asyncio import Event

from measures import PeerQueue
from oban import Oban, worker
from oban.schema import install
from typing_extensions import override

RUNNING: dict[str, PeerQueue] = {}
"""A job is found by the name of its class, so it finds the peer here."""


@worker(queue="default")
class Noop:
    async def process(self, _job: object) -> None:
        RUNNING["peer"].ran()


class Peer(PeerQueue):
    @override
    async def open(self, dsn: str) -> None:
        RUNNING["peer"] = self
        self.pool = await Oban.create_pool(dsn=dsn)
        await install(self.pool)
        self.client = Oban(pool=self.pool)
        await self.client.start()

    @override
    async def close(self) -> None:
        await self.client.stop()
        await self.pool.close()

    @override
    async def enqueue(self) -> None:
        await self.client.enqueue(Noop.new({}))

    @override
    async def enqueue_many(self, size: int) -> bool:
        for _ in range(0, size, 1000):
            await self.client.enqueue_many([Noop.new({}) for _ in range(1000)])
        return True

    @override
    async def work(self, *, concurrency: int) -> None:
        async with Oban(pool=self.pool, name="worker", queues={"default": concurrency}):
            await Event().wait()
