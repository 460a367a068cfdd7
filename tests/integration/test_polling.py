"""Wake-ups are hints: without any, work is found by looking; and nobody looks without end at what cannot be had."""

import asyncio
from datetime import datetime
from time import monotonic
from typing import Final
from uuid import uuid4

from typing_extensions import override

from lq_core import QueueConfig, QueueService, Worker, task
from lq_core.contracts import opened
from lq_core.queue import Claim
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers import PostgresServer

OFTEN: Final = 20
LONG_ENOUGH: Final = 0.4
"""Seconds that so many looks take; without a wake-up it is 0.7, and a wake-up saves 0.05 at most."""


@task(name="polling.greet")
async def greet(name: str) -> str:
    return f"hello, {name}"


async def test_work_is_found_without_any_wake_up(postgres: PostgresServer) -> None:
    deaf = PostgresConfig(dsn=postgres.create_database(f"polling_{uuid4().hex}"), poll_only=True)
    config = QueueConfig(queue_backend=deaf, poll_interval=0.2)
    async with QueueService(config) as here, QueueService(config) as there, Worker(there):
        await (await here.enqueue(greet, "first")).wait(timeout=10)

        assert await (await here.enqueue(greet, "world")).wait(timeout=10) == "hello, world"


class Watched(PostgresQueueBackend):
    """Notes when the fetcher of local work has asked for how long it may sleep, and says when that was often."""

    @override
    async def open(self) -> None:
        self.looks: list[float] = []
        self.seen_often = asyncio.Event()
        await super().open()

    @override
    async def next_due(self, claim: Claim) -> datetime | None:
        if "local" in claim.execution_backends:
            self.looks.append(monotonic())
        if len(self.looks) >= OFTEN:
            self.seen_often.set()
        return await super().next_due(claim)


async def test_a_worker_looks_ever_less_often_at_what_a_transaction_holds(postgres: PostgresServer) -> None:
    dsn = postgres.create_database(f"polling_{uuid4().hex}")
    config = QueueConfig(queue_backend=PostgresConfig(dsn=dsn))
    backend = Watched(config, settings=PostgresConfig(dsn=dsn))
    holder = PostgresQueueBackend(settings=PostgresConfig(dsn=dsn, poll_only=True))
    async with QueueService(config, queue_backend=backend) as service, opened(holder):
        await service.enqueue(greet, "ada")
        async with holder.connections.lent() as connection, connection.transaction():
            _ = await connection.fetch("SELECT FROM lq.records FOR UPDATE")
            async with Worker(service), asyncio.timeout(30):
                await backend.seen_often.wait()

    assert backend.looks[-1] - backend.looks[0] > LONG_ENOUGH
