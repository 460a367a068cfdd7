"""Celery on a durable Valkey, as broker and for results; plain code, so that its worker runs tasks in threads here."""

import asyncio

from celery import Celery
from celery.contrib.testing.worker import start_worker
from measures import PeerQueue
from typing_extensions import override
from with_valkey import durable_valkey


class Peer(PeerQueue):
    jobs_to_drain = 2000

    @override
    async def open(self, dsn: str) -> None:
        loop = asyncio.get_running_loop()
        self.server = durable_valkey()
        address = f"redis://127.0.0.1:{self.server.port}"
        self.app = Celery("peers", broker=f"{address}/0", backend=f"{address}/1")
        self.app.conf.update(task_acks_late=True)  # As durable as the others: a killed worker loses no job.

        @self.app.task(name="noop")
        def noop() -> None:
            loop.call_soon_threadsafe(self.ran)

        self.task = noop

    @override
    async def close(self) -> None:
        self.app.close()
        self.server.stop()

    @override
    async def enqueue(self) -> None:
        self.task.delay()

    @override
    async def work(self, *, concurrency: int) -> None:
        worker = start_worker(
            self.app, pool="threads", concurrency=concurrency, perform_ping_check=False, shutdown_timeout=15
        )
        await asyncio.to_thread(worker.__enter__)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(worker.__exit__, None, None, None)
