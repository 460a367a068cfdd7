"""An empty queue backend for each measurement, on every store in turn."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeAlias

from lq_core import QueueConfig
from lq_core.queue import BaseQueueBackend
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers import PostgresServer, find_installation

Make: TypeAlias = Callable[[QueueConfig], BaseQueueBackend]
"""Makes a queue backend without records."""


def every_store() -> Iterator[tuple[str, Make]]:
    """Yield the name of each store, and how to make one; it exists until the next one is asked for."""
    numbers = count()
    yield "memory", InMemoryQueueBackend
    with tempfile.TemporaryDirectory(prefix="lq-benchmark-") as room:

        def sqlite(config: QueueConfig) -> BaseQueueBackend:
            return SQLiteQueueBackend(config, settings=SQLiteConfig(path=Path(room) / f"{next(numbers)}.db"))

        yield "SQLite", sqlite
    with PostgresServer(find_installation()) as server:

        def postgres(config: QueueConfig) -> BaseQueueBackend:
            dsn = server.create_database(f"benchmark_{next(numbers)}")
            return PostgresQueueBackend(config, settings=PostgresConfig(dsn=dsn))

        yield "PostgreSQL", postgres
