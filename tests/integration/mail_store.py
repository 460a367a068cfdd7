"""A shop whose mail is in a store of its own: its tasks, and the stores of its configuration."""

from dataclasses import replace
from pathlib import Path

import pytest

from lq_core import QueueConfig, RecordFilter, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from servers import PostgresServer

TWO_STORES = ["memory and sqlite", "two databases of postgres"]
QUICK = QueueConfig(heartbeat_interval=0.1, heartbeat_timeout=5.0, poll_interval=0.2, shutdown_grace=5.0)
MAIL = {"mail": "bulk"}
SHARED = RecordFilter(queues=("default", "mail"))


@task(name="stores.add")
async def add(first: int, second: int) -> int:
    return first + second


@task(name="stores.mail", queue="mail")
async def mail(number: int) -> int:
    return number


def in_two_stores(request: pytest.FixtureRequest, folder: Path) -> QueueConfig:
    """Return the configuration of one pair of TWO_STORES."""
    if request.param == "memory and sqlite":
        return replace(
            QUICK, queue_backend="memory", stores={"bulk": SQLiteConfig(path=folder / "bulk.db")}, routes=MAIL
        )
    server: PostgresServer = request.getfixturevalue("postgres")
    main, bulk = (PostgresConfig(dsn=request.getfixturevalue(name)) for name in ("main_database", "bulk_database"))
    assert server.is_running()
    return replace(QUICK, queue_backend=main, stores={"bulk": bulk}, routes=MAIL)
