"""One of several processes on one SQLite file: ``hammer.py enqueue|copy|drain|open FILE NAME COUNT``."""

import asyncio
import shutil
import sys
from pathlib import Path
from threading import Event

from lq_core.contracts import a_claim, a_record, a_swap, a_worker, opened
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from lq_core.records import lifecycle
from lq_core.records.record import TaskStatus


def say(what: object) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def enqueue(queue: SQLiteQueueBackend, name: str, count: int) -> None:
    """Store records one after the other, and print the id of each stored record."""
    for number in range(count):
        (insertion,) = await queue.insert([a_record(key=f"{name}-{number}")])
        say(insertion.record.id)


async def copy_and_enqueue(queue: SQLiteQueueBackend, name: str, count: int) -> None:
    """Enqueue, and meanwhile copy the three files again and again, as a backup does that does not know SQLite."""
    ended = Event()

    def copy() -> None:
        while not ended.is_set():
            for file in queue.path.parent.glob(f"{queue.path.name}*"):
                shutil.copyfile(file, queue.path.parent / f"{name}.copy")

    copying = asyncio.create_task(asyncio.to_thread(copy))
    try:
        await enqueue(queue, name, count)
    finally:
        ended.set()
        await copying


async def drain(queue: SQLiteQueueBackend, name: str, count: int) -> None:
    """Complete records until all processes together have completed *count*; print the ids of its own."""
    await queue.register(a_worker(name))
    while (await queue.statistics()).total(TaskStatus.COMPLETED) < count:
        changes = queue.changes
        taken = (await queue.claim(a_claim(name, limit=5))).records
        ended = [lifecycle.complete(record, result="1", at=queue.now()) for record in taken]
        kept = await queue.swap([a_swap(record) for record in ended])
        assert all(kept), "another worker has settled a record of this worker"
        for record in taken:
            say(record.id)
        if not taken:
            await queue.wait_for_work(changes, timeout=0.05)


async def main(what: str, file: str, name: str, count: int) -> None:
    """Run one role."""
    async with opened(SQLiteQueueBackend(settings=SQLiteConfig(path=Path(file)))) as queue:
        if what == "enqueue":
            await enqueue(queue, name, count)
        elif what == "copy":
            await copy_and_enqueue(queue, name, count)
        elif what == "drain":
            await drain(queue, name, count)
        say("done")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
