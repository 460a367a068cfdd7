"""Keys over several processes: as if each were alone."""

import asyncio

from lq_core import QueueError
from lq_core.contracts import a_record, opened
from lq_core.queue import BaseQueueBackend, Insertion
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


async def test_a_key_in_an_open_transaction_does_not_delay_records_without_keys(
    backend: PostgresQueueBackend, database: Database
) -> None:
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True))) as other:
        async with other.connections.lent() as connection, connection.transaction():
            _ = await other.insert_within(connection, [a_record(key="once")])
            waiting = asyncio.create_task(backend.insert([a_record(key="once")]))
            async with asyncio.timeout(3):
                inserted = await asyncio.gather(*(backend.insert([a_record()]) for _ in range(5)))
        [refused] = await waiting

    assert {one.created for [one] in inserted} == {True}
    assert not refused.created


async def test_an_unreadable_holder_fails_only_requests_for_its_key(
    backend: PostgresQueueBackend, database: Database
) -> None:
    _ = await backend.insert([a_record(key="once")])
    _ = database.server.run_sql("UPDATE lq.records SET status = 'enchanted'", at=database.dsn)
    records = [a_record(key=key) for key in ("once", "twice", None)]

    poison, *others = await asyncio.gather(*(backend.insert([one]) for one in records), return_exceptions=True)

    assert isinstance(poison, QueueError)
    assert others == [[Insertion(record, created=True)] for record in records[1:]]
