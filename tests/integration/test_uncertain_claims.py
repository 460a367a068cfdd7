"""A claim whose answer is lost on the way: what it took runs soon, and once, while its worker lives on."""

import asyncio
from collections.abc import Iterator

import pytest

from lq_core import QueueConfig, QueueService, TaskStatus, Worker, task
from lq_core.records.record import Limits
from lq_postgres import PostgresConfig
from servers import PostgresServer, TcpProxy

EFFECTS = list[int]()


@task(name="uncertain.have_effect")
async def have_effect(number: int) -> None:
    EFFECTS.append(number)


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """A server that keeps what it has committed, also when it crashes."""
    with PostgresServer(durable=True) as server:
        yield server


def a_config(dsn: str) -> QueueConfig:
    """A worker that lives on for long, so that nobody rescues its records from it."""
    database = PostgresConfig(dsn=dsn, command_timeout=2, connect_timeout=2, probe_interval=0.5)
    return QueueConfig(queue_backend=database, poll_interval=0.2, heartbeat_interval=0.5, heartbeat_timeout=600)


@pytest.mark.parametrize("limits", [None, Limits(concurrency=3)], ids=["unlimited", "limited"])
async def test_records_of_a_claim_whose_answer_was_lost_run_once(
    own_postgres_server: PostgresServer, limits: Limits | None
) -> None:
    EFFECTS.clear()
    dsn = own_postgres_server.create_database("shop")
    async with (
        TcpProxy(own_postgres_server.host, own_postgres_server.port) as proxy,
        QueueService(a_config(dsn)) as service,
        QueueService(a_config(own_postgres_server.dsn("shop", port=proxy.port))) as behind,
    ):
        _ = await service.queue_backend.change_queue("default", limits=limits)
        lost = proxy.lose(have_effect.name.encode())
        sent = await service.enqueue_many(have_effect.call(number) for number in range(3))
        async with Worker(behind), asyncio.timeout(30):
            _ = await lost.wait()
            records = [await service.wait(one.id) for one in sent]

    assert sorted(EFFECTS) == [0, 1, 2]
    assert {record.status for record in records} == {TaskStatus.COMPLETED}
    assert {record.retry_count for record in records} == {0}
