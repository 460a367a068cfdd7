"""What an open transaction of the application holds, it holds from nobody else."""

import asyncio
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest

import shop
from lq_core import QueueConfig, QueueService, RecordFilter, StorageError, TaskStatus, Worker
from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule import Schedule
from lq_core.worker.scheduler import Scheduler
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


async def test_a_worker_lets_others_expire_while_one_is_in_a_transaction(postgres: PostgresServer) -> None:
    dsn = postgres.create_database(f"open_{uuid4().hex}")
    soon = shop.add.using(queue="nobody", delay=0.05, expires_in=0.1)
    config = QueueConfig(queue_backend=PostgresConfig(dsn=dsn), queues=("default",))

    async with QueueService(config) as service:
        held = await service.enqueue(soon.using(key="order"), 1, 2)
        other = await service.enqueue(soon, 1, 2)
        connection = await asyncpg.connect(dsn)
        async with connection.transaction():
            await connection.execute("SELECT FROM lq.records WHERE id = $1 FOR UPDATE", held.id)

            async def has_expired() -> bool:
                return (await other.refresh()).status is TaskStatus.EXPIRED

            async with Worker(service):
                await until(has_expired, what="the other one has expired")

                assert (await held.refresh()).status is TaskStatus.PENDING
        await connection.close()


async def fire_on(scheduler: Scheduler) -> None:
    """Let a scheduler work as a worker does, until it raises."""
    while True:  # noqa: ASYNC110 -- the pauses are the scheduler's own
        await asyncio.sleep(await scheduler.step())  # The pauses are the scheduler's own.


async def test_a_schedule_fires_while_the_key_of_another_is_in_a_transaction(postgres: PostgresServer) -> None:
    dsn = postgres.create_database(f"open_{uuid4().hex}")
    config = QueueConfig(queue_backend=PostgresConfig(dsn=dsn))
    keyed: Any = shop.add.using(key="night").call(1, 2)
    plain: Any = shop.add.call(3, 4)
    declared = {
        "a": Schedule(name="a", call=keyed, plan=Plan(every=1)),
        "b": Schedule(name="b", call=plain, plan=Plan(every=1)),
    }

    async with QueueService(config) as service:
        connection = await asyncpg.connect(dsn)
        async with connection.transaction():
            assert (await service.within(connection).enqueue(shop.add.using(key="night"), 5, 6)).created
            scheduler = Scheduler(service, declared=lambda: declared)
            with pytest.raises(StorageError):
                await fire_on(scheduler)

            assert await service.count(RecordFilter(schedule="b")) > 0
        await connection.close()
