"""A row that somebody has damaged is worked on as far as it can be read, and holds up no other."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

import shop
from lq_core import Limits, QueueConfig, QueueError, QueueService, TaskResult, TaskStatus, Worker
from lq_core.queue import QueueState
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from servers import PostgresServer


class Damage(Protocol):
    """Changes all rows of a table."""

    def __call__(self, change: str, table: str = "records", /) -> None: ...


@pytest.fixture(params=["sqlite", "postgres"])
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[QueueConfig, Damage]:
    """A configuration, and a hand that changes what is stored behind our back."""
    quick = QueueConfig(heartbeat_interval=0.1, heartbeat_timeout=1.0, poll_interval=0.2)
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        dsn = server.create_database(f"damaged_{tmp_path.name}")
        return replace(quick, queue_backend=PostgresConfig(dsn=dsn)), partial(in_postgres, server, dsn)
    path = tmp_path / "lq.db"
    return replace(quick, queue_backend=SQLiteConfig(path=path)), partial(in_file, path)


def in_file(path: Path, change: str, table: str = "records", /) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {table} SET {change}")


def in_postgres(server: PostgresServer, dsn: str, change: str, table: str = "records", /) -> None:
    server.run_sql(f"UPDATE lq.{table} SET {change}", at=dsn)


@pytest.mark.parametrize("column", ["backoff", "metadata", "error", "history"])
async def test_a_damaged_part_is_left_out_and_told(damaged: tuple[QueueConfig, Damage], column: str) -> None:
    config, damage = damaged
    async with QueueService(config) as service:
        poison = await service.enqueue(shop.add.using(priority=9), 1, 1)
        damage(f"{column} = '{{\"broken'")
        good = await service.enqueue(shop.add, 2, 2)

        async with Worker(service):
            results = [await good.wait(timeout=10), await poison.wait(timeout=10)]
        found = await service.find()

    assert results == [4, 2]
    (told,) = [entry for record in found for entry in record.history]
    assert (told.event, str(told.message)[: len(column) + 18]) == ("damaged", f"{column} could not be read")


async def test_damaged_limits_of_a_queue_hold_nothing_back_and_can_be_set_anew(
    damaged: tuple[QueueConfig, Damage],
) -> None:
    config, damage = damaged
    async with QueueService(config) as service, Worker(service):
        await service.limit_queue("mail", concurrency=1)
        damage("limits = '{\"rate\":5}'", "queues")
        await service.queue_backend.change_queue("film", paused=True)  # Whoever keeps the states in mind reads anew.
        sent = await service.enqueue(shop.add.using(queue="mail"), 1, 1)

        assert await sent.wait(timeout=10) == 2
        assert (await service.queues())["mail"] == QueueState()
        await service.limit_queue("mail", concurrency=2)
        assert (await service.queues())["mail"] == QueueState(limits=Limits(concurrency=2))


async def test_a_row_of_which_nothing_can_be_made_is_passed_over(damaged: tuple[QueueConfig, Damage]) -> None:
    config, damage = damaged
    async with QueueService(config) as service, Worker(service):
        await (await service.enqueue(shop.add, 1, 1)).wait(timeout=10)
        damage("status = 'enchanted'")
        good = await service.enqueue(shop.add, 2, 2)

        assert await good.wait(timeout=10) == 4
        assert [record.status for record in await service.find()] == [TaskStatus.COMPLETED]


async def test_a_key_that_a_ruined_row_holds_is_told_as_such(damaged: tuple[QueueConfig, Damage]) -> None:
    config, damage = damaged
    async with QueueService(config) as service:
        await service.enqueue(shop.add.using(key="once"), 1, 1)
        damage("key_scope = 'eternal'")

        refused, twice = await asyncio.gather(
            service.enqueue(shop.add.using(key="once"), 2, 2),
            service.enqueue(shop.add.using(key="twice"), 3, 3),
            return_exceptions=True,
        )

    assert isinstance(refused, QueueError)
    assert "The key 'once' is held by a record that cannot be read" in str(refused)
    assert isinstance(twice, TaskResult)
