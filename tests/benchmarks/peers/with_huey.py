"""Huey on peewee and psycopg2: plain code, so that its worker runs tasks in threads of this process."""

import asyncio

from huey.contrib.sql_huey import SqlHuey
from measures import PeerQueue
from playhouse.pool import PooledPostgresqlDatabase
from typing_extensions import override


class Peer(PeerQueue):
    jobs_to_drain = 2000

    @override
    async def open(self, dsn: str) -> None:
        loop = asyncio.get_running_loop()
        self.database = PooledPostgresqlDatabase(dsn, max_connections=80, timeout=60)
        self.huey = SqlHuey(database=self.database)

        @self.huey.task(name="noop")
        def noop() -> None:
            loop.call_soon_threadsafe(self.ran)

        self.task = noop

    @override
    async def close(self) -> None:
        self.database.close_all()

    @override
    async def enqueue(self) -> None:
        self.task()

    @override
    async def work(self, *, concurrency: int) -> None:
        consumer = self.huey.create_consumer(
            workers=min(concurrency, 40), worker_type="thread", periodic=False, initial_delay=0.001, max_delay=0.02
        )
        consumer.start()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(consumer.stop)
