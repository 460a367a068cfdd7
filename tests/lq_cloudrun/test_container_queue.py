"""A container and its queue: it creates nothing, ends at once if it can never connect, and may have a wrong clock."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import container_tasks as shop
from cloud import cloud, sqlite_address
from lq_cloudrun import CloudRunExitCode, execute_cloudrun_task
from lq_core import QueueConfig, QueueService, Worker


@pytest.fixture
def env() -> dict[str, str]:
    return {"LITESTAR_QUEUES_TASK_ID": str(uuid4()), "LITESTAR_QUEUES_CONNECT_SECONDS": "120"}


def run_sql(address: str, script: str, server: Any) -> None:
    """Run statements in a file or a database."""
    if address.startswith("sqlite:"):
        with closing(sqlite3.connect(address.removeprefix("sqlite:"))) as connection:
            connection.executescript(script)
    else:
        server().run_sql(script, at=address)


def make_empty(address: str) -> None:
    """Create a file without anything in it; the database of a server is empty already."""
    if address.startswith("sqlite:"):
        Path(address.removeprefix("sqlite:")).touch()


async def missing(queue: QueueConfig) -> list[int]:
    """Return the numbers of the migrations that a queue lacks."""
    return [migration.number for migration in await QueueService(queue).queue_backend.pending_migrations()]


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(line)["reason"] for line in caplog.records if vars(line).get("event") == "cloudrun.refused"]


async def test_a_container_creates_nothing_in_an_empty_database(
    queue: QueueConfig, address: str, env: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    make_empty(address)
    needed = await missing(queue)

    assert await execute_cloudrun_task(config=queue, env=env) is CloudRunExitCode.FAILURE
    assert await missing(queue) == needed
    [reason] = reasons(caplog)
    assert "version 0" in reason or "migration 0" in reason
    assert f"needs {needed[-1]}" in reason
    assert "A container never changes the schema, and this image has lq-" in reason


async def test_a_container_does_not_migrate_an_older_schema(
    queue: QueueConfig,
    address: str,
    env: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    first, *later = await QueueService(queue).queue_backend.pending_migrations()
    run_sql(address, first.sql, lambda: request.getfixturevalue("postgres"))

    assert await execute_cloudrun_task(config=queue, env=env) is CloudRunExitCode.FAILURE
    assert await missing(queue) == [migration.number for migration in later]
    [reason] = reasons(caplog)
    assert "version 1" in reason or "migration 1" in reason


async def test_a_container_refuses_a_newer_schema(
    queue: QueueConfig,
    address: str,
    env: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    async with QueueService(queue):
        pass
    newer = "PRAGMA user_version = 900"
    if address.startswith("postgresql:"):
        newer = "INSERT INTO lq.migrations (number, name, runs_beside) VALUES (900, 'more', 900)"
    run_sql(address, newer, lambda: request.getfixturevalue("postgres"))

    assert await execute_cloudrun_task(config=queue, env=env) is CloudRunExitCode.FAILURE
    [reason] = reasons(caplog)
    assert "900" in reason
    assert "this image has lq-" in reason


@pytest.fixture(params=["database", "role", "host"])
def nowhere(request: pytest.FixtureRequest, address: str, tmp_path: Path) -> str:
    """The address of a server with another database, role or host; of a file: one that is missing or no database."""
    if address.startswith("sqlite:"):
        (tmp_path / "text").write_text("this is not a database, but a text that is long enough to be one")
        paths = {"database": "lq.db", "role": "text", "host": "none/lq.db"}
        return sqlite_address(tmp_path / paths[request.param])
    replaced = {"database": "/cloud_ /nowhere_", "role": "postgres@ nobody@", "host": "127.0.0.1 nowhere.invalid"}
    old, new = replaced[request.param].split()
    assert old in address
    return address.replace(old, new)


async def test_a_queue_that_can_never_be_reached_ends_the_container_at_once(
    nowhere: str, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHOP_QUEUE", nowhere)

    assert await execute_cloudrun_task(config=shop.queue_config(), env=env) is CloudRunExitCode.FAILURE
    assert len(reasons(caplog)) == 1
    assert "cloudrun.connecting" not in caplog.text


@pytest.mark.parametrize("minutes", ["-5", "5"])
async def test_a_clock_that_is_minutes_off_in_the_container_costs_nothing(
    queue: QueueConfig, address: str, minutes: str, tmp_path: Path
) -> None:
    impatient = replace(queue, heartbeat_interval=0.3, heartbeat_timeout=1.8)
    env = {
        "SHOP_HEARTBEAT": "0.3",
        "SHOP_MINUTES_OFF": minutes,
        "LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:service_with_another_clock",
    }
    async with cloud(impatient, address, env=env) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.wait_for, str(tmp_path / "go on"))
        await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
        # Twice as long as a worker may be silent.
        await sky.emulator.wait_for_output(sky.emulator.executions()[0], "beat 36")
        (tmp_path / "go on").touch()

        assert await sent.wait(timeout=60) == "waited"
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.losses, len(sky.emulator.executions())) == (1, 0, 1)
