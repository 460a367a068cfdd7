"""A task that records its end in its own transaction: its effect and its outcome are committed together."""

from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest

from lq_core import QueueConfig, QueueService, TaskContext, TaskStatus, Worker, task
from lq_core.record import Backoff
from lq_postgres import PostgresConfig
from servers import PostgresServer

asyncpg: Any = import_module("asyncpg")
AT_ONCE = Backoff(base=0.01, jitter=0.0)


@task(name="complete_in.pay", retries=2, backoff=AT_ONCE)
async def pay(context: TaskContext, dsn: str, amount: int, *, trouble: str = "") -> str:
    """Book an amount and record the end with it; the first attempt gets into the trouble that is named."""
    connection = await asyncpg.connect(dsn)
    trouble = trouble if context.attempt == 1 else ""
    try:
        async with connection.transaction() as transaction:
            await connection.execute("INSERT INTO payments VALUES ($1)", amount)
            await context.complete_in(connection, f"paid {amount}")
            if trouble == "before the commit":
                raise RuntimeError(trouble)
            if trouble == "silent rollback":
                await connection.execute("ROLLBACK; BEGIN")
        assert transaction is None
        if trouble == "after the commit":
            raise RuntimeError(trouble)
    finally:
        await connection.close()
    return "not what is recorded"


@pytest.fixture
def dsn(postgres: PostgresServer) -> str:
    address = postgres.create_database(f"bank_{uuid4().hex}")
    _ = postgres.run_sql("CREATE TABLE payments (amount integer)", at=address)
    return address


@pytest.fixture
async def bank(dsn: str) -> AsyncIterator[QueueService]:
    config = QueueConfig(queue_backend=PostgresConfig(dsn=dsn), poll_interval=0.2)
    async with QueueService(config) as service, Worker(service):
        yield service


@pytest.mark.parametrize(
    "trouble, attempts", [("", 1), ("before the commit", 2), ("after the commit", 1), ("silent rollback", 2)]
)
async def test_effect_and_outcome_are_committed_together(
    postgres: PostgresServer, bank: QueueService, dsn: str, trouble: str, attempts: int
) -> None:
    sent = await bank.enqueue(pay, dsn, 7, trouble=trouble)

    assert await sent.wait(timeout=20) == "paid 7"
    assert postgres.run_sql("SELECT amount FROM payments", at=dsn) == "7"
    assert (sent.record.status, sent.record.attempt) == (TaskStatus.COMPLETED, attempts)
