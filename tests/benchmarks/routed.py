"""
Queues in one database, in two servers, and in ten databases: ``./dev bench routed``.

In each arrangement, the same number of records is spread evenly over the stores, and two processes with one worker for
each store run them. The arrangements take turns, and the median of the rounds counts. ``--write`` replaces the table
in docs/scaling.md.
"""

import asyncio
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from os import cpu_count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from figures import Figure, report
from fixture import nothing, worker_process
from msgspec import json

from lq_core import QueueConfig, QueueService, RoutedQueueService, StoreWorkers, TaskStatus
from lq_core.config.queue_config import MAIN, QueueBackendConfig
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from servers import PostgresServer, find_installation

PAGE: Final = Path(__file__).parents[2] / "docs/scaling.md"
ROUNDS: Final = 3
RECORDS: Final = 20_000
BATCH: Final = 500
PROCESSES: Final = 2
CONCURRENCY: Final = 50
LOOK_INTERVAL: Final = 0.1
MANY: Final = 10


def a_config(places: Sequence[str]) -> QueueConfig:
    """Make a configuration whose queue 0 is in the first place, and so on."""
    names = [MAIN, *(f"store{number}" for number in range(1, len(places)))]
    backends = dict(zip(names, map(_backend, places), strict=True))
    return QueueConfig(
        queue_backend=backends.pop(MAIN),
        stores=backends,
        routes={str(number): name for number, name in enumerate(names)},
        concurrency=CONCURRENCY,
        poll_interval=0.1,
    )


def _backend(place: str) -> QueueBackendConfig:
    return PostgresConfig(dsn=place, max_connections=4) if "://" in place else SQLiteConfig(path=Path(place))


async def measure(what: str, places: Sequence[str]) -> list[Figure]:
    """Enqueue and run the records of one arrangement."""
    each = RECORDS // len(places)
    async with RoutedQueueService(a_config(places)) as service, AsyncExitStack() as running:
        stores = dict(zip(map(str, range(len(places))), service.stores.values(), strict=True))
        for queue, store in stores.items():
            await store.pause(queue)
        began = perf_counter()
        await asyncio.gather(*(_enqueue(service, queue, each) for queue in stores))
        enqueued = RECORDS / (perf_counter() - began)
        for _ in range(PROCESSES):
            await running.enter_async_context(worker_process("routed", json.encode(places).decode()))
        while len(await service.workers()) < PROCESSES * len(places):  # noqa: ASYNC110 -- they are in other processes
            await asyncio.sleep(LOOK_INTERVAL)  # As above.
        rates = await _drain(stores, each)
    return [
        Figure(f"enqueue in batches of {BATCH}, {what}", enqueued, "/s"),
        Figure(f"drain, {what}, all stores together", min(rates) * len(places), "/s"),
        *([Figure(f"drain, {what}, fastest store alone", max(rates), "/s")] if len(places) > 1 else []),
        *([Figure(f"drain, {what}, slowest store alone", min(rates), "/s")] if len(places) > 1 else []),
    ]


async def _enqueue(service: RoutedQueueService, queue: str, records: int) -> None:
    bound = nothing.using(queue=queue)
    for start in range(0, records, BATCH):
        await service.enqueue_many([bound.call(number) for number in range(start, start + BATCH)])


async def _drain(stores: Mapping[str, QueueService], each: int) -> list[float]:
    """Open all queues, and return the rate of each store from then to the end of its last record."""
    await asyncio.gather(*(store.resume(queue) for queue, store in stores.items()))
    began = perf_counter()

    async def rate(store: QueueService) -> float:
        while (await store.statistics()).total(TaskStatus.COMPLETED) < each:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(LOOK_INTERVAL)  # As above.
        return each / (perf_counter() - began)

    return await asyncio.gather(*map(rate, stores.values()))


async def _work(places: Sequence[str]) -> None:
    async with RoutedQueueService(a_config(places)) as service, StoreWorkers(service):
        await asyncio.to_thread(sys.stdin.read)


def medians(rounds: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Return the median of each figure."""
    return [Figure(same[0].what, median(one.value for one in same), "/s") for same in zip(*rounds, strict=True)]


def round_of(number: int, first: PostgresServer, second: PostgresServer) -> list[Figure]:
    """Measure all arrangements once."""
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lq-benchmark-")))

        def made(server: PostgresServer, name: str) -> str:
            stack.callback(server.drop_database, f"{name}_{number}")
            return server.create_database(f"{name}_{number}")

        arrangements = {
            "one database": [made(first, "one")],
            "two servers": [made(server, "two") for server in (first, second)],
            "ten databases on two servers": [
                made(server, f"ten{each}") for each in range(MANY // 2) for server in (first, second)
            ],
            "one SQLite file": [str(room / "one.db")],
            "ten SQLite files": [str(room / f"{each}.db") for each in range(MANY)],
        }
        return [figure for what, places in arrangements.items() for figure in asyncio.run(measure(what, places))]


def main() -> None:
    """Measure in rounds."""
    servers = [PostgresServer(find_installation(), durable=True, settings={"max_connections": "300"}) for _ in "12"]
    with servers[0] as first, servers[1] as second:
        figures = medians([round_of(number, first, second) for number in range(ROUNDS)])
    machine = (
        f"Measured with Python {platform.python_version()} and PostgreSQL {first.installation.version} on "
        f"{platform.system()} with {cpu_count()} cores, which all servers and workers share."
    )
    report(figures, machine, place="routed", page=PAGE)


if __name__ == "__main__":
    if "--work" in sys.argv:
        asyncio.run(_work(json.decode(sys.argv[-1], type=list[str])))
    else:
        main()
