"""
The servers as pytest fixtures; a ``conftest.py`` takes them with ``from servers.fixtures import …``.

A test that asks for ``database`` runs once on every PostgreSQL version, each time in an
empty database of its own. Servers live as long as the session, and each process that runs tests
has its own.
"""

import os
from collections.abc import Generator, Iterator
from itertools import count
from typing import Final, NamedTuple

import pytest

from servers.installation import find_installation, known_versions
from servers.pgbouncer import PgBouncer
from servers.postgres import PostgresServer

OLDEST_ONLY: Final = "LQ_OLDEST_POSTGRES_ONLY"
"""An environment variable: tests run on the oldest PostgreSQL here, and not on each version."""

_NUMBERS: Final = count(1)
_VERSIONS: Final = known_versions()[:1] if os.environ.get(OLDEST_ONLY) else known_versions()


class Database(NamedTuple):
    """One empty database, for one test."""

    server: PostgresServer
    name: str

    @property
    def dsn(self) -> str:
        """Its address."""
        return self.server.dsn(self.name)


@pytest.fixture(scope="session", params=_VERSIONS, ids="postgres{}".format)
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A running server, one for each version here; not durable. Leave it running: others use it too."""
    with PostgresServer(find_installation(request.param)) as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """A pgbouncer in transaction mode in front of ``postgres_server``."""
    with PgBouncer(postgres_server) as bouncer:
        yield bouncer


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """An empty database on ``postgres_server``, dropped after the test with whoever is still in it."""
    yield from _database_on(postgres_server)


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """A server for this test alone, to be stopped, crashed and killed; the oldest version here."""
    with PostgresServer() as server:
        yield server


def _database_on(server: PostgresServer) -> Generator[Database]:
    name = f"test_{os.getpid()}_{next(_NUMBERS)}"
    _ = server.create_database(name)
    yield Database(server, name)
    server.drop_database(name)
