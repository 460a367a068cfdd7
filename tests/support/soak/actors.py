"""One process of a soak: ``python -m soak.actors worker|producer ADDRESS SEED``, until a signal ends it."""

import asyncio
import random
import signal
import sys
from typing import Final

from lq_core import QueueConfig, QueueService, Worker
from lq_core.config.queue_config import QueueBackendConfig
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from soak.effects import CLEAN, NO_RECORD
from soak.work import KINDS, declare, effect_log, send

HEARTBEAT: Final = 0.3
HEARTBEAT_TIMEOUT: Final = 2.0


def config(address: str) -> QueueConfig:
    """Configure short timeouts, so that dead workers are noticed soon and shutdowns are short."""
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
    """Run a worker until SIGTERM, and log its clean end."""
    async with QueueService(config(address)) as service:
        worker = Worker(service)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()
        effect_log().write(CLEAN, NO_RECORD)


async def produce(address: str, rng: random.Random) -> None:
    """Enqueue work of every kind until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    weights = [kind.weight for kind in KINDS]
    async with QueueService(config(address)) as service:
        while not stop.is_set():
            (kind,) = rng.choices(KINDS, weights)
            await send(kind, service, rng)
            await asyncio.sleep(rng.uniform(0, 0.04))  # A producer has other things to do as well.


def main() -> None:
    role, address, seed = sys.argv[1:]
    declare()
    asyncio.run({"worker": work, "producer": produce}[role](address, random.Random(seed)))


if __name__ == "__main__":
    main()
