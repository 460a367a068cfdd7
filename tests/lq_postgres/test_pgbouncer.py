"""Behind PgBouncer in transaction mode: no prepared statements, no session, and all the same nothing is missing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from lq_core.lifecycle import complete
from lq_core.queue import BaseQueueBackend
from lq_core.record import TaskStatus
from lq_core.testing import QueueBackendContract, a_claim, a_record, a_swap, a_worker, opened
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers import PgBouncer, PostgresServer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """The oldest PostgreSQL here: what differs behind PgBouncer does not differ by version."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def bouncer(server: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(server) as bouncer:
        yield bouncer


@pytest.fixture
def name(server: PostgresServer) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    _ = server.create_database(name)
    yield name
    server.drop_database(name)


@pytest.fixture
def config(bouncer: PgBouncer, name: str) -> PostgresConfig:
    return PostgresConfig(dsn=bouncer.dsn(name), statement_cache=False, poll_only=True)


class TestBehindPgBouncer(QueueBackendContract):
    @pytest.fixture
    async def queue(self, config: PostgresConfig) -> AsyncIterator[BaseQueueBackend]:
        async with opened(PostgresQueueBackend(settings=config)) as queue:
            yield queue


async def test_many_processes_share_the_connections_of_pgbouncer(config: PostgresConfig) -> None:
    backends = [PostgresQueueBackend(settings=config) for _ in range(4)]
    for backend in backends:
        await backend.open()

    async def work(backend: PostgresQueueBackend, name: str) -> int:
        await backend.register(a_worker(name))
        done = 0
        for _ in range(15):
            _ = await backend.insert([a_record() for _ in range(5)])
            claimed = await backend.claim(a_claim(name, limit=5))
            swaps = [a_swap(complete(record, result="1", at=backend.now())) for record in claimed.records]
            done += sum(await backend.swap(swaps))
        return done

    done = await asyncio.gather(*(work(backend, str(number)) for number, backend in enumerate(backends)))
    counts = (await backends[0].statistics()).counts["default"]

    assert counts.get(TaskStatus.COMPLETED) == sum(done)
    assert sum(counts.values()) == 4 * 15 * 5
    for backend in backends:
        await backend.close()


async def test_whoever_listens_at_the_server_itself_hears_of_work_behind_pgbouncer(
    config: PostgresConfig, server: PostgresServer, name: str
) -> None:
    listening = PostgresConfig(dsn=config.dsn, statement_cache=False, listen_dsn=server.dsn(name))
    async with opened(PostgresQueueBackend(settings=listening)) as worker:
        changes = worker.changes
        await worker.wait_for_work(changes, timeout=10)  # It listens from now on, and says so.
        changes = worker.changes
        async with opened(PostgresQueueBackend(settings=config)) as producer:
            _ = await producer.insert([a_record()])
            await worker.wait_for_work(changes, timeout=10)

            assert worker.changes > changes


async def test_who_listens_through_pgbouncer_is_told_that_it_cannot_hear(
    config: PostgresConfig, caplog: pytest.LogCaptureFixture
) -> None:
    deaf = PostgresConfig(dsn=config.dsn, statement_cache=False, probe_interval=0.2)
    with caplog.at_level("WARNING", "lq.postgres"):
        async with opened(PostgresQueueBackend(settings=deaf)) as backend, asyncio.timeout(20):
            await backend.wait_for_work(backend.changes, timeout=0.01)
            while not caplog.records:  # noqa: ASYNC110 -- a log has no event
                await asyncio.sleep(0.02)  # As above.

            assert backend.listener is not None
            assert not backend.listener.up
    assert caplog.records[0].getMessage().startswith("listener.deaf channel=")
