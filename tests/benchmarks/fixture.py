"""The setup of a measurement: an open service on an empty queue, and a task that does nothing."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

from lq_core import QueueConfig, QueueService, TaskStatus, Worker, task
from lq_core.queue.sqlite import SQLiteConfig

HERE: Final = Path(__file__).parent


class Arrivals:
    """Counts the calls of the task in this process, and sets an event when there are enough."""

    def __init__(self) -> None:
        self.expect(0)

    def expect(self, number: int) -> None:
        """Start to count, in the event loop that waits."""
        self.expected = number
        self.first: float | None = None
        self.complete = asyncio.Event()

    def count(self) -> None:
        """Count one call, and keep the time of the first."""
        if self.first is None:
            self.first = perf_counter()
        self.expected -= 1
        if not self.expected:
            self.complete.set()


ARRIVALS: Final = Arrivals()


@task(name="benchmark.nothing")
async def nothing(number: int) -> int:
    """Return the argument."""
    ARRIVALS.count()
    return number


@asynccontextmanager
async def stage(queue_backend: str, *, path: Path | None = None, concurrency: int = 50) -> AsyncGenerator[QueueService]:
    """Open a service on an empty memory queue, or on a SQLite file with default settings."""
    with tempfile.TemporaryDirectory(prefix="lq-benchmark-") as room:
        settings = SQLiteConfig(path=path or Path(room) / "lq.db") if queue_backend == "sqlite" else queue_backend
        async with QueueService(QueueConfig(queue_backend=settings, concurrency=concurrency)) as service:
            yield service


async def all_completed(service: QueueService, records: int) -> float:
    """Wait until so many results are stored, and return the seconds since the first call."""
    await ARRIVALS.complete.wait()
    # There is no event for the time when the last batch is on the disk.
    while (await service.statistics()).total(TaskStatus.COMPLETED) < records:  # noqa: ASYNC110 -- see above
        await asyncio.sleep(0.001)  # Short compared with the measured time.
    assert ARRIVALS.first is not None
    return perf_counter() - ARRIVALS.first


@asynccontextmanager
async def worker_process(script: str, place: object) -> AsyncGenerator[None]:
    """Run a script as a worker of the queue at *place*, in its own process, which ends with this one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, HERE / f"{script}.py", "--work", str(place), stdin=asyncio.subprocess.PIPE
    )
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def work(service: QueueService) -> None:
    """Work until standard input is closed, which also happens when the parent dies."""
    async with Worker(service):
        await asyncio.to_thread(sys.stdin.read)


async def output(script: str, *arguments: str) -> bytes:
    """Run one of these scripts in a fresh process and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, HERE / f"{script}.py", *arguments, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)} ended with code {process.returncode}")
    return printed
