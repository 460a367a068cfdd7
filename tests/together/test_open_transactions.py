"""What an open transaction of the application holds, it holds from nobody else."""

import asyncio
from importlib import import_module
from typing import Any
from uuid import uuid4

import shop
from lq_core import QueueConfig, QueueService, Worker
from lq_postgres import PostgresConfig
from programs import until
from servers import PostgresServer

asyncpg: Any = import_module("asyncpg")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def test_a_worker_goes_on_while_a_cancellation_waits_for_a_transaction(postgres: PostgresServer) -> None:
    dsn = postgres.create_database(f"open_{uuid4().hex}")
    debounced = shop.add.using(key="order", delay=60, on_conflict="debounce")

    async def somebody_waits() -> bool:
        return await asyncio.to_thread(postgres.run_sql, WAITING, at=dsn) != "0"

    async with QueueService(QueueConfig(queue_backend=PostgresConfig(dsn=dsn))) as service, Worker(service):
        held = await service.enqueue(debounced, 1, 2)
        connection = await asyncpg.connect(dsn)
        async with connection.transaction():
            _ = await service.within(connection).enqueue(debounced, 3, 4)
            cancelling = asyncio.create_task(service.cancel(held.id))
            await until(somebody_waits, what="the cancellation waits for the transaction")

            assert await (await service.enqueue(shop.add, 1, 2)).wait(timeout=4) == 3
            assert not cancelling.done()

        assert await cancelling
        await connection.close()
