"""A container that loses its database across the network: it goes on, or stops in time, and one outcome is recorded."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import container_tasks as shop
from cloud import Cloud, cloud, events_of
from lq_core import QueuedTaskRecord, TaskResult, TaskStatus, Worker
from servers import PostgresServer, TcpProxy


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    name = f"cloud_{uuid4().hex}"
    postgres.create_database(name)
    yield name
    postgres.drop_database(name)


@asynccontextmanager
async def far_away(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch, *, env: dict[str, str], **settings: Any
) -> AsyncGenerator[tuple[Cloud, TcpProxy]]:
    """A worker beside the database, and containers that reach it through a network that may fail."""
    monkeypatch.setenv("SHOP_QUEUE", postgres.dsn(database))
    monkeypatch.setenv("SHOP_HEARTBEAT", env["SHOP_HEARTBEAT"])
    async with TcpProxy(postgres.host, postgres.port) as proxy:
        address = postgres.dsn(database, port=proxy.port)
        async with cloud(shop.queue_config(), address, env=env, **settings) as sky, Worker(sky.service):
            yield sky, proxy


async def running(sky: Cloud, sent: TaskResult[str]) -> tuple[str, QueuedTaskRecord]:
    """Wait until the record runs; its execution, and the record as it is then."""
    record = await sky.until(sent.record, lambda record: record.status is TaskStatus.RUNNING)
    [name] = sky.emulator.executions()
    await sky.emulator.wait_for_output(name, "beat 1")
    return name, record


@pytest.mark.parametrize("dispatch", ["each", "pull"])
async def test_a_first_connection_that_takes_a_while_is_waited_for(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch, dispatch: str
) -> None:
    env = {"SHOP_HEARTBEAT": "1"}
    async with far_away(postgres, database, monkeypatch, env=env, dispatch=dispatch, max_in_flight=1) as (sky, proxy):
        await proxy.cut()
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
        await sky.emulator.wait_for_output(sky.emulator.executions()[0], "cloudrun.connecting")
        proxy.resume()

        assert await sent.wait(timeout=20) == 3
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.losses, len(sky.emulator.executions())) == (1, 0, 1)


@pytest.mark.parametrize("dispatch", ["each", "pull"])
async def test_an_outage_shorter_than_the_limit_costs_nothing(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dispatch: str
) -> None:
    env = {"SHOP_HEARTBEAT": "1"}
    async with far_away(postgres, database, monkeypatch, env=env, dispatch=dispatch, max_in_flight=1) as (sky, proxy):
        sent = await sky.service.enqueue(shop.wait_for, str(tmp_path / "go on"))
        name, _ = await running(sky, sent)
        await proxy.cut()
        await sky.emulator.wait_for_output(name, "worker.beat_failed")
        proxy.resume()
        (tmp_path / "go on").touch()

        assert await sent.wait(timeout=20) == "waited"
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.losses, len(sky.emulator.executions())) == (1, 0, 1)


async def test_an_outage_longer_than_the_limit_stops_the_container_and_another_one_has_the_outcome(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env = {"SHOP_HEARTBEAT": "0.3", "SHOP_ANSWER": "4"}
    async with far_away(postgres, database, monkeypatch, env=env) as (sky, proxy):
        sent = await sky.service.enqueue(shop.wait_for, str(tmp_path / "go on"))
        first, _ = await running(sky, sent)
        proxy.forget()
        await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 2)
        proxy.resume()
        stopped = await sky.emulator.wait_until_over(first)
        (tmp_path / "go on").touch()

        assert await sent.wait(timeout=20) == "waited"
        assert stopped.failed_count == 1
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.losses, events_of(kept)) == (2, 1, ["lost"])
        assert len(sky.emulator.executions()) == 2


async def test_a_container_that_drains_goes_on_under_a_new_name_after_a_long_outage(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env = {"SHOP_HEARTBEAT": "0.3", "SHOP_ANSWER": "1"}
    drain: dict[str, Any] = {"dispatch": "pull", "max_in_flight": 1}
    async with far_away(postgres, database, monkeypatch, env=env, **drain) as (sky, proxy):
        sent = await sky.service.enqueue(shop.wait_for, str(tmp_path / "go on"))
        name, before = await running(sky, sent)
        await proxy.cut()
        await sky.until(sent.record, lambda record: record.status is TaskStatus.PENDING)
        proxy.resume()
        again = await sky.until(sent.record, lambda record: record.status is TaskStatus.RUNNING)
        (tmp_path / "go on").touch()

        assert await sent.wait(timeout=20) == "waited"
        assert again.worker_id != before.worker_id
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.losses, events_of(kept)) == (2, 1, ["lost"])
        assert sky.emulator.executions() == [name]
