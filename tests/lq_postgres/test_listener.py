"""Whoever waits for work hears of it again, also after its connection has died without a word."""

import asyncio

from lq_core.contracts import a_record, opened
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers import TcpProxy
from servers.fixtures import Database

PATIENT = 60.0
"""A statement may take this long: it is the probe that has to notice."""


async def test_a_connection_that_leads_nowhere_is_noticed_by_the_probe(database: Database) -> None:
    producer = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True))
    async with TcpProxy(database.server.host, database.server.port) as proxy, opened(producer):
        listening = PostgresConfig(
            dsn=database.dsn,
            listen_dsn=database.server.dsn(database.name, port=proxy.port),
            command_timeout=PATIENT,
            probe_interval=0.3,
        )
        async with opened(PostgresQueueBackend(settings=listening)) as backend:
            await backend.wait_for_work(backend.changes, timeout=10)  # It listens from now on, and says so.
            before = backend.changes
            proxy.forget()
            proxy.resume()
            await backend.wait_for_work(before, timeout=10)  # Something may have been missed: it says so as well.
            listening_again = backend.changes
            _ = await producer.insert([a_record()])
            await backend.wait_for_work(listening_again, timeout=10)

            assert before < listening_again < backend.changes


async def test_what_was_missed_is_looked_for_when_the_network_is_back(database: Database) -> None:
    async with TcpProxy(database.server.host, database.server.port) as proxy:
        address = database.server.dsn(database.name, port=proxy.port)
        settings = PostgresConfig(dsn=database.dsn, listen_dsn=address, probe_interval=0.3)
        async with opened(PostgresQueueBackend(settings=settings)) as backend:
            await backend.wait_for_work(backend.changes, timeout=10)  # It listens from now on, and says so.
            await proxy.cut()
            changes = backend.changes
            proxy.resume()
            async with asyncio.timeout(10):
                await backend.wait_for_work(changes, timeout=10)

            assert backend.changes > changes
            assert backend.listener is not None
            assert backend.listener.up
