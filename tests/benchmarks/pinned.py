"""
What records cost while a transaction keeps a snapshot: ``./dev bench pinned [--minutes 30] [--rate 1000]``.

PostgreSQL cannot remove what records leave behind as long as the snapshot is kept. Each minute is one line of JSON,
as in chaos.py, with the pages that the server has read for each record.
"""

import argparse
import asyncio

import chaos
import psycopg
from msgspec import json
from msgspec.structs import asdict

from servers import PostgresServer

PAGES = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"
MINUTE = 60.0


async def run(minutes: int, rate: int) -> None:
    """Print a minute before the snapshot is taken, the minutes while it is kept, and a minute afterwards."""
    with PostgresServer(durable=True) as server:
        async with chaos.arena(server) as arena:
            arena.rate = rate
            await asyncio.sleep(chaos.SETTLE)  # The start of the workers is not measured.
            await _look(arena, "before")
            async with await psycopg.AsyncConnection.connect(arena.dsn) as connection:
                await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
                await connection.execute("SELECT count(*) FROM lq.queues")
                for number in range(1, minutes + 1):
                    await _look(arena, f"minute {number}")
            await _look(arena, "after")


async def _look(arena: chaos.Arena, period: str) -> None:
    before = await arena.read(PAGES)
    found = await arena.look("pinned snapshot", period, MINUTE)
    pages = (await arena.read(PAGES) - before) / max(found.completed_per_second * MINUTE, 1)
    print(json.encode({**asdict(found), "pages_per_record": round(pages, 1)}).decode(), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="./dev bench pinned")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--rate", type=int, default=chaos.RATE, help="calls per second")
    asked = parser.parse_args()
    asyncio.run(run(asked.minutes, asked.rate))
