"""
What a claim costs in a crowded PostgreSQL, beside a claim from one queue: ``./dev bench crowded``.

Each database is filled once. Then the claims of all of them take turns, so that all run under the same load. A figure
is the rate beside that of one queue, by the medians of the claims; 0.5 means that a claim takes twice as long.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median
from time import perf_counter
from typing import Final

from figures import Figure, show

from lq_core.contracts import a_record, opened
from lq_core.queue import Claim, Swap, WorkerInfo
from lq_core.records import lifecycle
from lq_core.records.record import Dependencies, Limits, QueuedTaskRecord
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers import PostgresServer, find_installation

GOAL: Final = 0.5
CLAIMS: Final = 60
SIZE: Final = 20
PLAIN: Final = 5_000
"""How many records without a key wait in each database, more than the claims take."""

BACKENDS: Final = ("local", "immediate", "process")
"""Those of a worker with the default configuration."""

ONE: Final = Limits(concurrency=1)
BASE: Final = "one queue"
LOOKS: Final = 5


def keyed(number: int, *, queues: int = 1, name: str = "default") -> list[QueuedTaskRecord]:
    """Make records with a key each, in one queue or in several."""
    return [
        a_record(queue=f"queue {one % queues}" if queues > 1 else name, concurrency_key=f"tenant {one}", limits=ONE)
        for one in range(number)
    ]


def plain(queue: str = "default", *, number: int = PLAIN) -> list[QueuedTaskRecord]:
    return [a_record(queue=queue) for _ in range(number)]


def spread(queues: int) -> list[QueuedTaskRecord]:
    """Make records in so many queues."""
    return [a_record(queue=f"queue {one % queues}") for one in range(20_000)]


def blocked(number: int) -> list[QueuedTaskRecord]:
    never = a_record(queue="never")
    return [never, *(a_record(after=Dependencies(ids=(never.id,)), blocked=True) for _ in range(number))]


class Stage:
    """One database with its records, and the times of its claims in milliseconds."""

    def __init__(
        self,
        records: Sequence[QueuedTaskRecord],
        *,
        queues: tuple[str, ...] | None = None,
        paused: tuple[str, ...] = (),
        statement_cache: bool = True,
        analyze: bool = True,
    ) -> None:
        self.records = records
        self.paused = paused
        self.statement_cache = statement_cache
        self.analyze = analyze
        self.claim = Claim(worker_id="bench", limit=SIZE, execution_backends=BACKENDS, queues=queues)
        self.times: list[float] = []
        self.taken = 0
        self._swaps: Sequence[Swap] = ()

    async def fill(self, backend: PostgresQueueBackend) -> None:
        self._backend = backend
        at = backend.now()
        await backend.register(WorkerInfo(id="bench", started_at=at, seen_at=at))
        for start in range(0, len(self.records), 1000):
            _ = await backend.insert_many(self.records[start : start + 1000])
        for queue in self.paused:
            _ = await backend.change_queue(queue, paused=True)
        if self.analyze:
            async with backend.connections.lent() as connection:
                _ = await connection.execute("VACUUM ANALYZE lq.records", timeout=300)

    async def settle_and_claim(self) -> None:
        began = perf_counter()
        _, claimed = await self._backend.settle_and_claim(self._swaps, self.claim)
        self.times.append(1000 * (perf_counter() - began))
        self.taken += len(claimed.records)
        at = self._backend.now()
        self._swaps = [
            Swap(record=lifecycle.complete(record, result="true", at=at), epoch=record.epoch)
            for record in claimed.records
        ]

    async def look(self) -> float:
        """Look for records to unblock, and return the milliseconds."""
        began = perf_counter()
        _ = await self._backend.unblocked(limit=100)
        return 1000 * (perf_counter() - began)


def stages() -> dict[str, Stage]:
    """Make every stage."""
    return {
        BASE: Stage(plain()),
        "one named queue": Stage(plain("mail")),
        "500 queues": Stage(spread(500)),
        "2,000 queues": Stage(spread(2000)),
        "2,000 queues, one paused with 20,000 records": Stage(
            [*plain("stop", number=20_000), *spread(2000)], paused=("stop",)
        ),
        "one queue beside 2,000 others": Stage([*spread(2000), *plain("mail")], queues=("mail",)),
        "50,000 keys": Stage(keyed(50_000)),
        "50,000 keys of another queue": Stage([*keyed(50_000, name="other"), *plain()], queues=("default",)),
        "50,000 keys of a paused queue": Stage([*keyed(50_000, name="other"), *plain()], paused=("other",)),
        "20,000 keys in 2,000 queues": Stage(keyed(20_000, queues=2000)),
        "100,000 blocked records": Stage([*blocked(100_000), *plain()], queues=("default",)),
        "statement_cache=False": Stage(plain(), statement_cache=False),
        "no statistics": Stage(plain(), analyze=False),
    }


async def measure(server: PostgresServer) -> list[Figure]:
    """Fill all databases, and then claim from each in turn."""
    made = stages()
    async with AsyncExitStack() as stack:
        for number, stage in enumerate(made.values()):
            settings = PostgresConfig(
                dsn=server.create_database(f"crowded_{number}"), poll_only=True, statement_cache=stage.statement_cache
            )
            await stage.fill(await stack.enter_async_context(opened(PostgresQueueBackend(settings=settings))))
        for _ in range(CLAIMS):
            for stage in made.values():
                await stage.settle_and_claim()
        looks = [await made["100,000 blocked records"].look() for _ in range(LOOKS)]
    for name, stage in made.items():
        if stage.taken != CLAIMS * SIZE:
            raise RuntimeError(f"{name}: {stage.taken} records were taken, and not {CLAIMS * SIZE}.")
    base = median(made.pop(BASE).times)
    return [
        Figure(f"settle and claim {SIZE}, {BASE}", base, "ms"),
        *(Figure(f"{name}, of its rate", base / median(stage.times), "times", GOAL) for name, stage in made.items()),
        Figure("a look at 100,000 blocked records", median(looks), "ms"),
    ]


def main() -> None:
    """Measure without autovacuum, so that statistics are missing where a stage says so."""
    wanted = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    with PostgresServer(find_installation(*wanted), durable=True, settings={"autovacuum": "off"}) as server:
        show(asyncio.run(measure(server)))


if __name__ == "__main__":
    main()
