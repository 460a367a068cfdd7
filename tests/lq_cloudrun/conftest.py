"""A queue of its own for each test, which the containers share: in every queue backend that is installed."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from cloud import sqlite_address
from lq_core import QueueConfig
from servers.postgres import PostgresServer
from warehouse import queue_config

pytest.register_assert_rewrite("lq_core.testing")

# Where this package is tested alone, there is only what the core brings.
STORES: Final = ("sqlite", "postgres") if find_spec("lq_postgres") else ("sqlite",)
NUMBERS: Final = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=STORES)
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What SHOP_QUEUE says: an empty file, or an empty database."""
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
