"""A notification is a hint: records are stored, and workers work, where none can or may be sent."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import pytest

from lq_core import QueueConfig, QueueService, RateLimit, TaskContext, TaskStatus, Worker, task
from lq_core.contracts import a_claim, a_record, a_swap, claimed, opened
from lq_core.records import lifecycle
from lq_core.records.record import Limits
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers import PostgresServer, find_installation

asyncpg: Any = import_module("asyncpg")

FULL = "too many notifications in the NOTIFY queue"


@task(name="notifications.greet")
async def greet(name: str) -> str:
    return name


@task(name="notifications.falter", retries=3, backoff=0.01)
async def falter(context: TaskContext) -> int:
    if context.attempt == 1:
        raise OSError("the first attempt fails")
    return context.attempt


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server whose NOTIFY queue is small; this is a setting of PostgreSQL 17 and newer."""
    settings = {"max_notify_queue_pages": "64", "max_prepared_transactions": "2"}
    with PostgresServer(find_installation(18), settings=settings) as server:
        yield server


@pytest.fixture
def dsn(server: PostgresServer) -> Iterator[str]:
    yield server.create_database("shop")
    server.drop_database("shop")


@pytest.fixture
async def listening(dsn: str) -> AsyncIterator[Any]:
    """A connection that listens to the queue."""
    connection = await asyncpg.connect(dsn)
    _ = await connection.fetch("SELECT pg_notification_queue_usage()")  # This removes what nobody has to read any more.
    yield connection
    await connection.close()


@asynccontextmanager
async def a_full_queue(listening: Any, dsn: str) -> AsyncGenerator[None]:
    """The listener has a transaction open, so the server keeps each notification."""
    await listening.execute("LISTEN lq")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as filling, listening.transaction():
        _ = await listening.fetch("SELECT 1")
        with pytest.raises(asyncpg.ProgramLimitExceededError, match=FULL):
            await fill(filling)
        yield


async def fill(pool: Any) -> None:
    while True:
        await pool.execute("SELECT pg_notify('other', repeat('x', 7000) || n) FROM generate_series(1, 20) n")


@asynccontextmanager
async def a_service(dsn: str, **settings: Any) -> AsyncGenerator[QueueService]:
    config = QueueConfig(queue_backend=PostgresConfig(dsn=dsn, **settings), poll_interval=0.05)
    async with QueueService(config) as service:
        yield service


async def test_records_are_stored_while_the_server_has_no_room_for_notifications(listening: Any, dsn: str) -> None:
    async with a_service(dsn) as service, a_full_queue(listening, dsn):
        first = await service.enqueue(greet.using(key="ada"), "ada")
        others = await service.enqueue_many([greet.call("bob"), greet.using(key="cid", after=[first]).call("cid")])
        async with asyncpg.create_pool(dsn, min_size=1) as pool, pool.acquire() as connection, connection.transaction():
            within = await service.within(connection).enqueue(greet, "dan")
        async with Worker(service):
            found = await asyncio.gather(*(one.wait(timeout=30) for one in (first, *others, within)))

    assert found == ["ada", "bob", "cid", "dan"]


async def test_records_in_one_transaction_are_stored_while_the_server_has_no_room_for_notifications(
    listening: Any, dsn: str
) -> None:
    async with a_service(dsn) as service, a_full_queue(listening, dsn):
        first = greet.using(key="ada").call("ada")
        sent = await service.enqueue_many([first, greet.using(after=[first]).call("bob")])

    assert [one.created for one in sent] == [True, True]


async def test_a_failure_spends_one_retry_while_the_server_has_no_room_for_notifications(
    listening: Any, dsn: str
) -> None:
    async with a_service(dsn) as service:
        sent = await service.enqueue(falter)
        async with a_full_queue(listening, dsn), Worker(service):
            assert await sent.wait(timeout=30) == 2

    assert (sent.record.attempt, sent.record.retry_count) == (2, 1)


@pytest.mark.parametrize("rate", [None, RateLimit(100)], ids=["keys", "rates"])
async def test_a_claim_under_limits_settles_while_the_server_has_no_room_for_notifications(
    listening: Any, dsn: str, rate: RateLimit | None, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(concurrency=1, rate=rate)
    first, second = (a_record(concurrency_key="ann", limits=limits, priority=priority) for priority in (0, 1))
    async with opened(PostgresQueueBackend(settings=PostgresConfig(dsn=dsn))) as queue:
        [running] = await claimed(queue, first)
        await queue.insert([second])
        async with a_full_queue(listening, dsn):
            assert not (await queue.claim(a_claim())).records  # The next claim expects limits.
            swap = a_swap(lifecycle.release_claim(running, delay=0.0, at=running.created_at))
            kept, answer = await queue.settle_and_claim([swap], a_claim())
        [returned] = await queue.get_many([first.id])

    assert "notifications.paused" in caplog.text
    assert kept == [True]
    assert [record.id for record in answer.records] == [second.id]
    assert returned.status is TaskStatus.PENDING


async def test_the_doctor_names_the_session_that_keeps_the_notifications(listening: Any, dsn: str) -> None:
    async with a_service(dsn) as service, a_full_queue(listening, dsn):
        findings = {finding.check: finding for finding in await service.queue_backend.diagnose()}

    assert "100%" in findings["notification queue"].found
    assert str(listening.get_server_pid()) in str(findings["notification queue"].advice)


async def test_without_notify_nobody_is_notified_and_nothing_listens(listening: Any, dsn: str) -> None:
    heard: list[object] = []

    def hear(*notification: object) -> None:
        heard.append(notification[-1])

    await listening.add_listener("lq", hear)
    async with a_service(dsn, notify=False) as service:
        sent = await service.enqueue(falter)
        async with Worker(service):
            _ = await sent.wait(timeout=30)
        await service.pause("default")
        await service.resume("default")
        assert isinstance(service.queue_backend, PostgresQueueBackend)
        assert service.queue_backend.listener is None
    async with asyncpg.create_pool(dsn, min_size=1) as pool:
        _ = await pool.fetch("SELECT pg_notify('lq', 'the end')")

    async with asyncio.timeout(10):
        while not heard:
            _ = await listening.fetch("SELECT 1")
    assert heard == ["the end"]


async def test_a_transaction_that_enqueues_can_be_prepared_without_notify(dsn: str) -> None:
    async with a_service(dsn, notify=False) as service:
        connection = await asyncpg.connect(dsn)
        await connection.execute("BEGIN")
        sent = await service.within(connection).enqueue(greet, "ada")
        await connection.execute("PREPARE TRANSACTION 'greeting'")
        before = await service.get(sent.id)
        await connection.execute("COMMIT PREPARED 'greeting'")
        await connection.close()
        async with Worker(service):
            assert await sent.wait(timeout=30) == "ada"

    assert before is None
