"""A wake-up makes as many idle workers look as there is work for, and the others only if that did not help."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest

from lq_core.contracts import a_claim, a_record, a_worker, opened
from lq_core.records.record import QueuedTaskRecord
from lq_postgres import PostgresConfig, PostgresQueueBackend
from lq_postgres.claims import settle_and_claim
from lq_postgres.connection import crowd
from lq_postgres.connection.crowd import ALL, Crowd
from programs import until
from servers import PostgresServer

WORKERS = 100


class Workers:
    """Many workers that hear the same wake-ups, and count their looks."""

    def __init__(self, number: int, *, slots: int = 20) -> None:
        self.sender = Crowd(slots=slots)
        self.sender.size = number
        self.sender.idles()
        self.crowds = [Crowd(slots=slots) for _ in range(number)]
        self.looks = [0] * number
        self.each_has_looked = asyncio.Event()
        for place, one in enumerate(self.crowds):
            one.place, one.size = place, number
            one.listen(partial(self._look, place))

    def _look(self, place: int) -> None:
        self.looks[place] += 1
        if all(self.looks):
            self.each_has_looked.set()

    def claim(self, records: int) -> str:
        """What the claim of a worker announces that has been idle and has heard a wake-up."""
        return f"-{records} {self.sender.announcing(self.sender.wake_up(0))}"

    def hear(self, payload: str) -> None:
        for one in self.crowds:
            one.hear(payload)

    def rest(self) -> None:
        for one in self.crowds:
            one.rest()


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers(WORKERS)
    yield workers
    workers.rest()


@pytest.mark.parametrize("records, looks", [(1, 1), (20, 1), (21, 2), (45, 3), (5000, 100), (ALL, 100)])
async def test_as_many_workers_look_at_once_as_the_records_need(workers: Workers, records: int, looks: int) -> None:
    workers.hear(workers.sender.wake_up(records))

    assert sum(workers.looks) == looks


async def test_different_workers_are_the_first(workers: Workers) -> None:
    for _ in range(200):
        workers.hear(workers.sender.wake_up(1))
        workers.hear(workers.claim(1))

    assert sum(workers.looks) == 200
    assert max(workers.looks) < 20


async def test_each_looks_if_nobody_has_taken_the_record(workers: Workers) -> None:
    workers.hear(workers.sender.wake_up(1))

    async with asyncio.timeout(10):
        await workers.each_has_looked.wait()


async def test_nobody_else_looks_when_the_record_has_been_taken(workers: Workers) -> None:
    workers.hear(workers.sender.wake_up(1))
    workers.hear(workers.claim(1))
    loop, passed = asyncio.get_running_loop(), asyncio.Event()
    _ = loop.call_later(20 * crowd.SHORTEST_STEP, passed.set)
    await passed.wait()

    assert sum(workers.looks) == 1


async def test_nobody_else_looks_when_one_of_them_has_found_nothing_that_it_may_take(workers: Workers) -> None:
    workers.hear(workers.sender.wake_up(1))
    workers.hear(workers.claim(0))
    loop, passed = asyncio.get_running_loop(), asyncio.Event()
    _ = loop.call_later(20 * crowd.SHORTEST_STEP, passed.set)
    await passed.wait()

    assert sum(workers.looks) == 1


async def test_the_others_look_when_one_that_takes_other_records_has_found_nothing(workers: Workers) -> None:
    workers.sender.takes(("mail",), ("local",))
    workers.hear(workers.sender.wake_up(1))
    workers.hear(workers.claim(0))

    async with asyncio.timeout(10):
        await workers.each_has_looked.wait()


async def test_the_others_look_while_records_are_left(workers: Workers) -> None:
    workers.hear(workers.sender.wake_up(3))
    workers.hear(workers.claim(2))

    async with asyncio.timeout(10):
        await workers.each_has_looked.wait()


@pytest.mark.parametrize("payload", ["", "0123456789ab", "something"])
async def test_the_wake_ups_of_other_versions_make_all_look(workers: Workers, payload: str) -> None:
    workers.hear(payload)

    assert workers.looks == [1] * WORKERS


async def test_a_worker_alone_looks_at_once() -> None:
    workers = Workers(1)
    workers.hear(workers.sender.wake_up(1))

    assert workers.looks == [1]


async def test_a_process_does_not_hear_itself_except_for_what_a_transaction_of_the_application_commits() -> None:
    workers = Workers(1)
    [alone] = workers.crowds
    alone.hear(alone.wake_up(1))
    alone.hear(alone.probe)
    assert workers.looks == [0]

    alone.hear(alone.wake_up(1, origin=""))
    assert workers.looks == [1]


class Idle:
    """A worker without sweeps, which claims, and waits for work, and does nothing else."""

    def __init__(self, backend: PostgresQueueBackend, name: str) -> None:
        self.backend = backend
        self.name = name
        self.looks = 0
        self.is_waiting = False
        self.records: list[QueuedTaskRecord] = []

    async def work(self, claimed: Callable[[], None]) -> None:
        while True:
            changes = self.backend.changes
            self.is_waiting = False
            self.looks += 1
            found = (await self.backend.claim(a_claim(self.name))).records
            self.records += found
            if found:
                claimed()
            elif await self.backend.next_due(a_claim(self.name)) is None:
                self.is_waiting = True
                await self.backend.wait_for_work(changes, timeout=600)


async def statements(server: PostgresServer, workers: int, enqueues: int) -> int:
    """Count the statements of so many idle workers and of one who enqueues, half of it for a paused queue."""
    dsn = server.create_database(f"crowd_of_{workers}")
    settings = PostgresConfig(dsn=dsn, probe_interval=600)
    async with AsyncExitStack() as stack:
        idle: list[Idle] = []
        for number in range(workers):
            backend = await stack.enter_async_context(opened(PostgresQueueBackend(settings=settings)))
            await backend.register(a_worker(str(number)))
            idle.append(Idle(backend, str(number)))
        for one in idle:
            assert await one.backend.beat(one.name)
        producer = await stack.enter_async_context(opened(PostgresQueueBackend(settings=settings)))
        claimed = asyncio.Event()
        working = [asyncio.create_task(one.work(claimed.set)) for one in idle]

        async def all_listen() -> bool:
            # Each looks at first, and again when it begins to listen.
            return all(one.is_waiting and one.looks >= 2 for one in idle)

        await until(all_listen, what="all listen")
        looks = [one.looks for one in idle]

        async def all_wait() -> bool:
            return all(one.is_waiting for one in idle)

        async def all_have_looked() -> bool:
            return all(one.is_waiting and one.looks > number for one, number in zip(idle, looks, strict=True))

        _ = await producer.change_queue("paused", paused=True)
        await until(all_have_looked, what="all have looked at the queues that are left")
        before = _logged(server)
        for _ in range(enqueues):
            claimed.clear()
            _ = await producer.insert([a_record(queue="paused")])
            _ = await producer.insert([a_record()])
            async with asyncio.timeout(60):
                await claimed.wait()
        await until(all_wait, what="the one that has claimed waits again")
        number = _logged(server) - before
        for one in working:
            _ = one.cancel()
        _ = await asyncio.wait(working)
        assert sum(len(one.records) for one in idle) == enqueues
        assert len({one.name for one in idle if one.records}) > min(workers, enqueues) / 4
        return number


def _logged(server: PostgresServer) -> int:
    return server.log.count("execute __asyncpg")


async def test_one_enqueue_costs_many_idle_workers_hardly_more_statements_than_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crowd, "SHORTEST_STEP", 5.0)
    monkeypatch.setattr(
        settle_and_claim, "PLAIN_INTERVAL", 600.0
    )  # However slow the machine is, no worker tries again.
    with PostgresServer(settings={"max_connections": "300", "log_statement": "all"}) as server:
        alone = await statements(server, 1, 10)
        together = await statements(server, WORKERS, 10)

    assert together <= alone + 4 * 10
