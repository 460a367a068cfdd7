"""What a dead worker was running is found, whatever else goes on in the database."""

from lq_core.lifecycle import complete
from lq_core.testing import a_record, a_swap, claimed, opened
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers.fixtures import Database


async def test_what_an_open_transaction_is_about_to_end_is_left_to_it(
    backend: PostgresQueueBackend, database: Database
) -> None:
    ended, lost = await claimed(backend, a_record(), a_record())
    await backend.retire("ada")
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn, poll_only=True))) as other:
        async with other.connections.lent() as connection, connection.transaction():
            _ = await other.swap_within(connection, a_swap(complete(ended, result="1", at=backend.now())))
            before = await backend.orphans(timeout=30, limit=10)

        assert before == [lost]
        assert await backend.orphans(timeout=30, limit=10) == [lost]
