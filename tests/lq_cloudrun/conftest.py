"""A queue for each test, which its containers share, in every queue backend that is installed."""

import os
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from cloud import sqlite_address
from container_tasks import queue_config
from lq_core import QueueConfig, QueueService
from reservations import configured
from servers.postgres import PostgresServer

pytest.register_assert_rewrite("lq_core.contracts")

# If this package is tested alone, only the stores of lq-core are installed.
STORES: Final = ("sqlite", "postgres") if find_spec("lq_postgres") else ("sqlite",)
NUMBERS: Final = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=STORES)
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The value of SHOP_QUEUE: an empty file, or an empty database."""
    with stored(request, tmp_path) as where:
        monkeypatch.setenv("SHOP_QUEUE", where)
        yield where


@contextmanager
def stored(request: pytest.FixtureRequest, folder: Path) -> Generator[str]:
    if request.param == "sqlite":
        yield sqlite_address(folder / "shop.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"cloud_{os.getpid()}_{next(NUMBERS)}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture
def queue(address: str) -> QueueConfig:
    return queue_config()


@pytest.fixture
async def service(queue: QueueConfig) -> AsyncGenerator[QueueService]:
    async with QueueService(configured(queue)) as opened:
        yield opened
