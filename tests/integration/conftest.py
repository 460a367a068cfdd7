"""One service on each queue backend, with a worker that is quick to notice."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lq_core import QueueConfig, QueueService, Worker
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from servers import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The oldest PostgreSQL here; tests/lq_postgres runs on the others too."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def shop(postgres: PostgresServer) -> str:
    """The name of the database of ``config``; the tests leave its schema alone."""
    postgres.create_database("shop")
    return "shop"


@pytest.fixture
def main_database(postgres: PostgresServer) -> Iterator[str]:
    yield postgres.create_database("stores_main")
    postgres.drop_database("stores_main")


@pytest.fixture
def bulk_database(postgres: PostgresServer) -> Iterator[str]:
    yield postgres.create_database("stores_bulk")
    postgres.drop_database("stores_bulk")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> QueueConfig:
    # A machine may stand still for a moment, and no worker here lapses for it.
    quick = QueueConfig(heartbeat_interval=0.1, heartbeat_timeout=5.0, poll_interval=0.2, shutdown_grace=5.0)
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        dsn = server.empty_database(request.getfixturevalue("shop"))
        return replace(quick, queue_backend=PostgresConfig(dsn=dsn))
    stores = {"memory": "memory", "sqlite": SQLiteConfig(path=tmp_path / "lq.db")}
    return replace(quick, queue_backend=stores[request.param])


@pytest.fixture
async def service(config: QueueConfig) -> AsyncIterator[QueueService]:
    async with QueueService(config) as service:
        yield service


@pytest.fixture
async def worker(service: QueueService) -> AsyncIterator[Worker]:
    async with Worker(service) as worker:
        yield worker
