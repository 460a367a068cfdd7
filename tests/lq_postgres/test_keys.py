"""Keys over several processes: as if each were alone."""

import asyncio

from lq_core.queue import BaseQueueBackend
from lq_core.testing import a_record, opened
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers.fixtures import Database


async def test_processes_that_store_the_same_keys_in_another_order_do_not_wait_for_each_other(
    database: Database,
) -> None:
    async def insert(queue: BaseQueueBackend, keys: list[str]) -> None:
        for number in range(20):
            await together.wait()
            await queue.insert([a_record(key=f"{number}-{key}") for key in keys])

    together = asyncio.Barrier(2)
    keys = [str(number) for number in range(200)]
    settings = PostgresConfig(dsn=database.dsn)
    async with (
        opened(PostgresQueueBackend(settings=settings)) as first,
        opened(PostgresQueueBackend(settings=settings)) as second,
        asyncio.timeout(20),
    ):
        await asyncio.gather(insert(first, keys), insert(second, keys[::-1]))
