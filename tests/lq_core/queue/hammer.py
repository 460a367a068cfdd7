"""One of several processes on one SQLite file: ``hammer.py enqueue|drain|open|forever FILE NAME COUNT``."""

import asyncio
import sys
from pathlib import Path

from lq_core import lifecycle
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from lq_core.record import TaskStatus
from lq_core.testing import a_claim, a_record, a_swap, a_worker, opened


def say(what: object) -> None:
    """Write a line that is not held back."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def enqueue(queue: SQLiteQueueBackend, name: str, count: int) -> None:
    """Store records one after the other, and say each one's id when it is stored."""
    for number in range(count):
        (insertion,) = await queue.insert([a_record(key=f"{name}-{number}")])
        say(insertion.record.id)


async def drain(queue: SQLiteQueueBackend, name: str, count: int) -> None:
    """Complete records until *count* have been completed by anybody, and say the ids of one's own."""
    await queue.register(a_worker(name))
    while (await queue.statistics()).total(TaskStatus.COMPLETED) < count:
        changes = queue.changes
        taken = (await queue.claim(a_claim(name, limit=5))).records
        ended = [lifecycle.complete(record, result="1", at=queue.now()) for record in taken]
        kept = await queue.swap([a_swap(record) for record in ended])
        assert all(kept), "somebody else has settled what this worker runs"
        for record in taken:
            say(record.id)
        if not taken:
            await queue.wait_for_work(changes, timeout=0.05)


async def main(what: str, file: str, name: str, count: int) -> None:
    """Do it."""
    async with opened(SQLiteQueueBackend(settings=SQLiteConfig(path=Path(file)))) as queue:
        if what == "enqueue":
            await enqueue(queue, name, count)
        elif what == "drain":
            await drain(queue, name, count)
        say("done")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
