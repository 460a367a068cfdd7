"""How often a worker waits for the server, which costs more than most statements."""

from collections.abc import AsyncIterator

import pytest

from lq_core.contracts import a_claim, a_record, a_swap, a_worker, opened
from lq_core.records.lifecycle import complete
from lq_core.records.record import Limits, QueuedTaskRecord
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.claims import settle_and_claim as claims
from servers import TcpProxy
from servers.fixtures import Database

STATEMENT_CACHE = {"statement-cache": True, "without": False}


@pytest.fixture
async def proxy(database: Database) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(database.server.host, database.server.port) as proxy:
        yield proxy


@pytest.fixture(params=STATEMENT_CACHE)
async def queue(
    database: Database, proxy: TcpProxy, request: pytest.FixtureRequest
) -> AsyncIterator[PostgresQueueBackend]:
    """A backend that has to reach its database through the proxy."""
    dsn = database.server.dsn(database.name, port=proxy.port)
    settings = PostgresConfig(dsn=dsn, poll_only=True, statement_cache=STATEMENT_CACHE[request.param])
    async with opened(PostgresQueueBackend(settings=settings)) as queue:
        await queue.register(a_worker())
        yield queue


async def settle_and_claim(queue: PostgresQueueBackend, proxy: TcpProxy, *records: QueuedTaskRecord) -> int:
    """Store records, and count the round trips that complete the first one and claim the second, when warm."""
    _ = await queue.insert(records)
    sent = 0
    claimed = (await queue.claim(a_claim(limit=1))).records
    for _ in range(2):
        sent = proxy.sent
        swaps = [a_swap(complete(record, result="1", at=queue.now())) for record in claimed]
        kept, answer = await queue.settle_and_claim(swaps, a_claim(limit=1))
        claimed = answer.records
        assert kept == [True]
        assert len(claimed) == 1
    return proxy.sent - sent


async def test_to_settle_and_claim_is_one_statement(queue: PostgresQueueBackend, proxy: TcpProxy) -> None:
    sent = await settle_and_claim(queue, proxy, *(a_record() for _ in range(3)))

    # Without a statement cache, it is in a transaction that has the settings.
    assert sent == (1 if queue.settings.statement_cache else 3)


async def test_under_keys_to_settle_and_claim_is_one_statement(queue: PostgresQueueBackend, proxy: TcpProxy) -> None:
    limits = Limits(concurrency=1)

    sent = await settle_and_claim(queue, proxy, *(a_record(concurrency_key="ann", limits=limits) for _ in range(3)))

    assert sent == (1 if queue.settings.statement_cache else 3)


async def test_under_other_limits_settling_is_a_part_of_the_transaction_that_claims(
    queue: PostgresQueueBackend, proxy: TcpProxy
) -> None:
    await queue.change_queue("default", limits=Limits(concurrency=1))

    sent = await settle_and_claim(queue, proxy, *(a_record() for _ in range(3)))

    assert sent == 4  # It begins with the lock, settles and reads, claims, and commits.


async def test_beside_a_paused_queue_a_worker_tries_ever_less_often_to_claim_without_a_choice(
    queue: PostgresQueueBackend, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PLAIN_INTERVAL", 1e-6)  # It doubles up to a minute within 26 claims.
    await queue.change_queue("mail", paused=True)
    for_each_claim = 1 if queue.settings.statement_cache else 3
    _ = await queue.claim(a_claim())

    before = proxy.sent
    for _ in range(60):
        _ = await queue.claim(a_claim())

    assert proxy.sent - before < (60 + 30) * for_each_claim
