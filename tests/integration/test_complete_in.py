"""A task that records its end in its own transaction: its effect and its outcome are committed together."""

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest

from lq_core import QueueConfig, QueueService, TaskContext, TaskFailedError, TaskStatus, Worker, task
from lq_core.presence.progress import INTERVAL as PROGRESS_INTERVAL
from lq_core.records.record import Backoff
from lq_postgres import PostgresConfig
from programs import until
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


async def test_what_is_raised_after_the_commit_is_in_the_log(
    bank: QueueService, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def is_told() -> bool:
        told = [entry for entry in caplog.records if vars(entry).get("event") == "task.failed_after_commit"]
        return [str(entry.exc_info[1]) for entry in told if entry.exc_info] == ["after the commit"]

    _ = await bank.enqueue(pay, dsn, 7, trouble="after the commit")

    await until(is_told, what="it is told")


ENDED: list[str] = []


@task(name="complete_in.report", retries=0)
async def report(context: TaskContext, dsn: str) -> None:
    """Report at once, end, and go on for longer than reports are held back, before the commit and after it."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            for number in range(3):
                await context.progress(number)
                await connection.execute("INSERT INTO payments VALUES ($1)", number)
            await context.complete_in(connection)
            await context.log("This comes too late.")
            await asyncio.sleep(2 * PROGRESS_INTERVAL)  # This is the work, and not a wait for anything.
        await asyncio.sleep(2 * PROGRESS_INTERVAL)  # As above.
        ENDED.append("after its commit")
    finally:
        ENDED.append("")
        await connection.close()


async def test_reports_before_the_end_do_not_stop_the_task_after_it(bank: QueueService, dsn: str) -> None:
    async def has_ended() -> bool:
        return "" in ENDED

    ENDED.clear()
    sent = await bank.enqueue(report, dsn)
    await sent.wait(timeout=20)
    await until(has_ended, what="the function has ended")

    assert ENDED == ["after its commit", ""]


@task(name="complete_in.boast", retries=2, backoff=AT_ONCE)
async def boast(context: TaskContext, dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await context.complete_in(connection, "x" * 2000)
    finally:
        await connection.close()
    return "too late"


async def test_a_result_that_is_too_large_fails_the_record_at_once(dsn: str) -> None:
    config = QueueConfig(queue_backend=PostgresConfig(dsn=dsn), max_payload_bytes=1000)
    async with QueueService(config) as service, Worker(service):
        sent = await service.enqueue(boast, dsn)
        with pytest.raises(TaskFailedError, match=r"The result of complete_in\.boast"):
            await sent.wait(timeout=20)

    assert (sent.record.attempt, sent.record.result) == (1, None)


@task(name="complete_in.find_another_way", retries=0)
async def find_another_way(context: TaskContext, dsn: str) -> None:
    """End in a transaction that comes to nothing, and tell what is done instead."""
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    await context.complete_in(connection)
    await transaction.rollback()
    await connection.close()
    await context.log("another way")
    await context.progress(5, 10)
    raise ValueError("no way")


async def test_what_is_told_after_a_rollback_is_kept(bank: QueueService, dsn: str) -> None:
    sent = await bank.enqueue(find_another_way, dsn)

    with pytest.raises(TaskFailedError, match="no way"):
        await sent.wait(timeout=20)
    assert [entry.message for entry in sent.record.history if entry.event == "log"] == ["another way"]
    assert sent.record.progress is not None
    assert sent.record.progress.done == 5
