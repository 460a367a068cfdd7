"""A password that changes while a worker runs: new connections use the new one, and no record is lost."""

from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import pytest

from lq_core import QueueConfig, QueueService, TaskResult, TaskStatus, Worker, task
from lq_core.foundation.errors import StorageError
from lq_postgres import PostgresConfig
from servers import PostgresServer

BY_PASSWORD = "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
HANG_UP = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'clerk'"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of the oldest version that asks every role but the superuser for its password."""
    with PostgresServer() as server:
        (server.directory / "data/pg_hba.conf").write_text(BY_PASSWORD)
        _ = server.run_sql("SELECT pg_reload_conf()")
        yield server


async def repeated(step: Callable[[], Awaitable[TaskResult[int]]]) -> TaskResult[int]:
    """Take a step, and take it again if its connection was one that has just ended."""
    try:
        return await step()
    except StorageError:
        return await step()


async def test_a_worker_goes_on_when_the_password_changes(server: PostgresServer) -> None:
    passwords = ["first"]
    for statement in ("CREATE ROLE clerk LOGIN PASSWORD 'first'", "CREATE DATABASE shop OWNER clerk"):
        _ = server.run_sql(statement)

    @task(name=f"number.{uuid4().hex}")
    async def number(value: int) -> int:
        return value

    dsn = server.dsn("shop").replace("postgres@", "clerk@")
    settings = PostgresConfig(dsn=dsn, password=lambda: passwords[-1])
    config = QueueConfig(queue_backend=settings, heartbeat_interval=0.2, poll_interval=0.1)
    async with QueueService(config) as service, Worker(service):
        before = [await service.enqueue(number, value) for value in range(5)]
        assert [await one.wait(timeout=30) for one in before] == [0, 1, 2, 3, 4]
        for _ in range(3):
            passwords.append(uuid4().hex)
            _ = server.run_sql(f"ALTER ROLE clerk PASSWORD '{passwords[-1]}'")
            _ = server.run_sql(HANG_UP)

            after = await repeated(lambda: service.enqueue(number, 7))
            assert await after.wait(timeout=30) == 7
        counts = (await service.statistics()).counts["default"]

    assert counts[TaskStatus.COMPLETED] >= 8  # A call whose answer was lost is enqueued twice.
    assert TaskStatus.FAILED not in counts
