"""
The servers as pytest fixtures; a ``conftest.py`` takes them with ``from servers.fixtures import …``.

A test with the fixture ``database`` runs once on every PostgreSQL version, each time in a new, empty database.
``emptied_database`` is faster: its schema stays from test to test.
Each process that runs tests has its own servers, until its session ends.
"""

import os
from collections.abc import Generator, Iterator
from itertools import count
from typing import Final, NamedTuple

import pytest

from servers.installation import find_installation, known_versions
from servers.pgbouncer import PgBouncer
from servers.postgres import PostgresServer

CHOICE: Final = "LQ_TEST_POSTGRES"
"""
An environment variable that chooses versions of PostgreSQL for the tests: ``all`` by default, only the ``oldest``, the
``ends`` (the oldest and the newest), or those ``between``.
"""

_NUMBERS: Final = count(1)
_OLDEST, *_LATER = known_versions()
VERSIONS: Final = {
    "all": (_OLDEST, *_LATER),
    "oldest": (_OLDEST,),
    "ends": (_OLDEST, *_LATER[-1:]),
    "between": tuple(_LATER[:-1]) or (_OLDEST,),
}[os.environ.get(CHOICE, "all")]
"""The versions that tests run on, the oldest first."""


class Database(NamedTuple):
    """One empty database, for one test."""

    server: PostgresServer
    name: str

    @property
    def dsn(self) -> str:
        """Its address."""
        return self.server.dsn(self.name)


@pytest.fixture(scope="session", params=VERSIONS, ids="postgres{}".format)
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A running server for each version, not durable. Other tests use it too, so do not stop it."""
    with PostgresServer(find_installation(request.param)) as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """A pgbouncer in transaction mode in front of ``postgres_server``."""
    with PgBouncer(postgres_server) as bouncer:
        yield bouncer


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """An empty database on ``postgres_server``, dropped after the test together with its sessions."""
    yield from _database_on(postgres_server)


@pytest.fixture(scope="session")
def common_database(postgres_server: PostgresServer) -> Iterator[Database]:
    """The database behind ``emptied_database``."""
    yield from _database_on(postgres_server)


@pytest.fixture
def emptied_database(common_database: Database) -> Database:
    """A database without rows on ``postgres_server``. For tests that leave its schema as lq has made it."""
    _ = common_database.server.empty_database(common_database.name)
    return common_database


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """A server of the oldest version for one test, which can stop, crash and kill it."""
    with PostgresServer() as server:
        yield server


def _database_on(server: PostgresServer) -> Generator[Database]:
    name = f"test_{os.getpid()}_{next(_NUMBERS)}"
    _ = server.create_database(name)
    yield Database(server, name)
    server.drop_database(name)
