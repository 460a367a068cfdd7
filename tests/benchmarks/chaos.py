"""
What a queue does while its server and its workers have trouble: ``./dev bench chaos [PHASE …]``.

Calls arrive at a steady rate, two worker processes run them, and one kind of trouble after the other comes and goes.
Each period is one line of JSON: completed records per second, waits from the enqueue to the end, bytes of the
write-ahead log for each record, dead rows. Afterwards, *recovery* is the rate beside the rate before the trouble.
The periods are those of the public comparison by hardbyte: server restart, repeated kills, a connection storm, a
pinned snapshot, and pressure at shutdown.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final, LiteralString

import psycopg
from msgspec import Struct, json

from lq_core import QueueConfig, QueueService, StorageError, Worker, task
from lq_postgres import PostgresConfig
from servers import PostgresServer

RATE: Final = 1_000
"""Calls per second, about half of what two workers complete beside their database on two cores."""

TICK: Final = 0.02
CALM: Final = 15.0
TROUBLE: Final = 20.0
SETTLE: Final = 10.0
"""Seconds of each period: before, during, and between the trouble and the measurement afterwards."""

FOUND: Final = """
SELECT count(*), coalesce(percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (
  ORDER BY extract(epoch FROM finished_at - created_at)::float8), ARRAY[0, 0]::float8[])
FROM lq.records WHERE status = 'completed' AND finished_at BETWEEN now() - make_interval(secs => %s) AND now()
"""
KEPT: Final = "SELECT count(*) FROM lq.records"
UNFINISHED: Final = "SELECT count(*) FROM lq.records WHERE status <> 'completed'"
DEAD: Final = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'records'"
WAL: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8"


@task(name="chaos.short", retries=20)
async def short() -> None:
    """Take a millisecond."""
    await asyncio.sleep(0.001)  # The work of the task.


class Period(Struct, kw_only=True):
    """What was measured in one period; waits in milliseconds."""

    trouble: str
    period: str
    completed_per_second: float
    wait_p50: float
    wait_p99: float
    wal_bytes_per_record: float
    dead_rows: int
    refused_calls: int
    recovery: float | None = None


class Arena:
    """One server, two workers, and calls that arrive at a steady rate."""

    def __init__(self, server: PostgresServer, dsn: str) -> None:
        self.server, self.dsn = server, dsn
        self.workers: list[asyncio.subprocess.Process] = []
        self.stored = self.refused = 0
        self.rate = RATE

    async def start_worker(self) -> None:
        """Start one more worker process."""
        command = (sys.executable, Path(__file__), "--work", self.dsn)
        self.workers.append(await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE))

    async def end_worker(self, how: signal.Signals) -> None:
        """End the oldest worker process, and wait until it is gone."""
        process = self.workers.pop(0)
        process.send_signal(how)
        await process.wait()

    async def call(self, service: QueueService) -> None:
        """Enqueue at a steady rate until cancelled."""
        began, due = monotonic(), 0
        while True:
            await asyncio.sleep(TICK)  # Calls arrive at a rate.
            number = int((monotonic() - began) * RATE) - due
            due += number
            try:
                await service.enqueue_many([short.call() for _ in range(number * self.rate // RATE)])
                self.stored += number * self.rate // RATE
            except StorageError:
                self.refused += number

    async def look(self, trouble: str, period: str, seconds: float, *during: Awaitable[object]) -> Period:
        """Measure one period, which lasts *seconds* and at least as long as *during*."""
        refused, before = self.refused, await self.read(WAL)
        await asyncio.gather(asyncio.sleep(seconds), *during)  # The length of the period.
        count, (middle, high) = (await self.rows(FOUND, seconds))[0]
        return Period(
            trouble=trouble,
            period=period,
            completed_per_second=round(count / seconds, 1),
            wait_p50=round(middle * 1000, 1),
            wait_p99=round(high * 1000, 1),
            wal_bytes_per_record=round((await self.read(WAL) - before) / max(count, 1)),
            dead_rows=int(await self.read(DEAD)),
            refused_calls=self.refused - refused,
        )

    async def drain(self) -> None:
        """Wait until every record is completed."""
        async with asyncio.timeout(60):
            while await self.read(UNFINISHED):  # noqa: ASYNC110 -- other processes complete them
                await asyncio.sleep(0.2)  # No event of this process says so.

    async def rows(self, statement: LiteralString, *values: object) -> list[Any]:
        """Read rows with a connection of its own."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            return await (await connection.execute(statement, values)).fetchall()

    async def read(self, statement: LiteralString) -> float:
        """Read one number."""
        [[found]] = await self.rows(statement)
        return float(found)


async def restart(arena: Arena) -> None:
    """Stop the server, and start it again after two seconds."""
    await asyncio.to_thread(arena.server.stop)
    await asyncio.sleep(2)  # As long is the server away.
    await asyncio.to_thread(arena.server.start)


async def kills(arena: Arena) -> None:
    """Kill a worker every three seconds, and start another one."""
    for _ in range(6):
        await arena.end_worker(signal.SIGKILL)
        await arena.start_worker()
        await asyncio.sleep(3)  # The time from one kill to the next.


async def storm(arena: Arena) -> None:
    """Take every connection that the server has left, again and again."""

    async def take() -> None:
        with suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(arena.dsn):
                await asyncio.sleep(1)  # As long is the connection held.

    until = monotonic() + TROUBLE
    while monotonic() < until:
        await asyncio.gather(*(take() for _ in range(100)))


async def snapshot(arena: Arena) -> None:
    """Keep a transaction open that reads what it has seen at its start."""
    async with await psycopg.AsyncConnection.connect(arena.dsn) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await connection.execute("SELECT count(*) FROM lq.queues")
        await asyncio.sleep(TROUBLE)  # How long the trouble lasts.


async def pressure(arena: Arena) -> None:
    """Stop and replace both workers while calls arrive at twice the rate."""
    arena.rate = 2 * RATE
    for _ in range(2):
        await arena.end_worker(signal.SIGTERM)
        await arena.start_worker()
        await asyncio.sleep(3)  # The time from one stop to the next.
    arena.rate = RATE


TROUBLES: Final[Mapping[str, Callable[[Arena], Awaitable[None]]]] = {
    "restart": restart,
    "kills": kills,
    "storm": storm,
    "snapshot": snapshot,
    "pressure": pressure,
}


@asynccontextmanager
async def arena(server: PostgresServer) -> AsyncGenerator[Arena]:
    """Open the queue, and start the calls and the workers."""
    made = Arena(server, server.create_database("chaos"))
    async with AsyncExitStack() as ended:
        service = await ended.enter_async_context(QueueService(_config(made.dsn)))
        for _ in range(2):
            await made.start_worker()
        calls = asyncio.create_task(made.call(service))
        try:
            yield made
            calls.cancel()
            await made.drain()
        finally:
            calls.cancel()
            for _ in made.workers[:]:
                await made.end_worker(signal.SIGTERM)


async def run(troubles: list[str]) -> None:
    """Run the troubles one after the other, and print a line for each period."""
    with PostgresServer(durable=True) as server:
        async with arena(server) as made:
            await asyncio.sleep(SETTLE)  # The period between two measurements.
            for name in troubles:
                before = await made.look(name, "before", CALM)
                during = await made.look(name, "during", TROUBLE, TROUBLES[name](made))
                await asyncio.sleep(SETTLE)  # The period between two measurements.
                after = await made.look(name, "after", CALM)
                after.recovery = round(after.completed_per_second / before.completed_per_second, 3)
                for period in (before, during, after):
                    print(json.encode(period).decode(), flush=True)
        lost = made.stored - int(await made.read(KEPT))
        print(
            json.encode({"stored": made.stored, "lost": max(lost, 0), "not_run": await made.read(UNFINISHED)}).decode()
        )


def _config(dsn: str) -> QueueConfig:
    return QueueConfig(queue_backend=PostgresConfig(dsn=dsn), concurrency=50, heartbeat_interval=1.0)


async def _work(dsn: str) -> None:
    async with QueueService(_config(dsn)) as service:
        await Worker(service).run()


if __name__ == "__main__":
    if "--work" in sys.argv:
        asyncio.run(_work(sys.argv[-1]))
    else:
        asked = sys.argv[1:] or list(TROUBLES)
        if unknown := set(asked) - set(TROUBLES):
            sys.exit(f"There is no {', '.join(sorted(unknown))}; there are: {', '.join(TROUBLES)}.")
        asyncio.run(run(asked))
