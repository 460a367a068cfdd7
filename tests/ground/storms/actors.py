"""One process of a soak: ``python -m storms.actors worker|producer ADDRESS SEED``, until it is stopped, or killed."""

import asyncio
import random
import signal
import sys
from typing import Final

from lq_core import QueueConfig, QueueService, Worker
from lq_core.config import QueueBackendConfig
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from storms.book import CLEAN, NOBODY
from storms.work import KINDS, book, declare, send

HEARTBEAT: Final = 0.3
HEARTBEAT_TIMEOUT: Final = 2.0


def config(address: str) -> QueueConfig:
    """Quick to notice who is gone, and with little patience for what runs when a worker is to stop."""
    return QueueConfig(
        queue_backend=_store(address),
        heartbeat_interval=HEARTBEAT,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        poll_interval=0.3,
        shutdown_grace=0.2,
        concurrency=10,
    )


def _store(address: str) -> QueueBackendConfig:
    if address.startswith("postgresql:"):
        return PostgresConfig(dsn=address, command_timeout=5, max_connections=4)
    return SQLiteConfig(path=address)


async def work(address: str, _: random.Random) -> None:
    """Be a worker until SIGTERM, and leave a line that says that the end was a clean one."""
    async with QueueService(config(address)) as service:
        worker = Worker(service)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()
        book().write(CLEAN, NOBODY)


async def produce(address: str, dice: random.Random) -> None:
    """Ask for work of every kind until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    weights = [kind.weight for kind in KINDS]
    async with QueueService(config(address)) as service:
        while not stop.is_set():
            (kind,) = dice.choices(KINDS, weights)
            await send(kind, service, dice)
            await asyncio.sleep(dice.uniform(0, 0.04))  # A producer has other things to do as well.


def main() -> None:
    role, address, seed = sys.argv[1:]
    declare()
    asyncio.run({"worker": work, "producer": produce}[role](address, random.Random(seed)))


if __name__ == "__main__":
    main()
