"""What the tests of lq-postgres stand on: real servers, and a backend in an empty database."""

from collections.abc import AsyncIterator

import pytest

from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers.fixtures import (
    Database,
    common_database,
    database,
    emptied_database,
    own_postgres_server,
    pgbouncer,
    postgres_server,
)

__all__ = [
    "backend",
    "common_database",
    "database",
    "emptied_database",
    "own_postgres_server",
    "pgbouncer",
    "postgres_server",
]

pytest.register_assert_rewrite("lq_core.contracts")


@pytest.fixture
async def backend(database: Database) -> AsyncIterator[PostgresQueueBackend]:
    """An open backend; the test runs once on every version of PostgreSQL."""
    opened = PostgresQueueBackend(settings=PostgresConfig(dsn=database.dsn))
    await opened.open()
    yield opened
    await opened.close()
