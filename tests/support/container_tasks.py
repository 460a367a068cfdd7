"""
The tasks that run in the containers of tests, and their queue, which the environment of a container names.

A container imports this module and nothing of the emulator, so that it starts as fast as a real container.
"""

import asyncio
import os
import signal
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from typing_extensions import override

from lq_cloudrun import CloudRunExecutionConfig
from lq_core import Backoff, NonRetryable, QueueConfig, QueueService, RetryLater, StorageError, task
from lq_core.config.queue_config import QueueBackendConfig
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend

IN_MEMORY = QueueConfig(queue_backend="memory")
AT_ONCE = Backoff(base=0.01, factor=1, jitter=0)


def sqlite_address(path: Path) -> str:
    """Return the value of SHOP_QUEUE for a queue in this file."""
    return f"sqlite:{path}"


def queue_config() -> QueueConfig:
    """Configure the queue that the variable SHOP_QUEUE names."""
    return QueueConfig(
        queue_backend=_queue_backend(os.environ["SHOP_QUEUE"]),
        heartbeat_interval=float(os.environ.get("SHOP_HEARTBEAT", "5")),
        heartbeat_timeout=6 * float(os.environ.get("SHOP_HEARTBEAT", "5")),
        poll_interval=0.1,
    )


def queue_config_with_a_limit() -> QueueConfig:
    """As above, with a timeout of an execution that is always nearly over."""
    return replace(queue_config(), execution_backend=CloudRunExecutionConfig("emulated", job_name="shop", timeout=1))


def service_with_another_clock() -> QueueService:
    """As above, with a clock that is SHOP_MINUTES_OFF. PostgreSQL has a clock of its own."""
    config = queue_config()
    if not isinstance(config.queue_backend, SQLiteConfig):
        return QueueService(config)
    off = timedelta(minutes=float(os.environ["SHOP_MINUTES_OFF"]))
    backend = SQLiteQueueBackend(config, settings=config.queue_backend, clock=lambda: datetime.now(UTC) + off)
    return QueueService(config, queue_backend=backend)


class OutOfReach(SQLiteQueueBackend):
    """A queue whose database does not answer yet."""

    @override
    async def open(self) -> None:
        raise StorageError("The database does not answer.")


def queue_out_of_reach() -> QueueService:
    """Make a service that cannot be opened yet."""
    return QueueService(queue_backend=OutOfReach(settings=SQLiteConfig(path=__file__)))


async def later_queue_config() -> QueueConfig:
    """As above, from an async function."""
    return queue_config()


def _queue_backend(address: str) -> QueueBackendConfig:
    if address.startswith("postgresql:"):
        from lq_postgres import PostgresConfig  # noqa: PLC0415 -- not installed where lq-cloudrun is tested alone

        return PostgresConfig(dsn=address, command_timeout=float(os.environ.get("SHOP_ANSWER", "15")))
    return SQLiteConfig(path=address.removeprefix("sqlite:"))


def say(text: str) -> None:
    """Print without a buffer, so that a test can wait for the text."""
    print(text, flush=True)  # noqa: T201 -- the output of a container is what a test waits for


@task
async def add(first: int, second: int) -> int:
    say("adding")
    return first + second


@task
def describe(who: UUID, when: datetime) -> str:
    return f"{who.version} {when.tzinfo}"


@task(retries=1, backoff=AT_ONCE)
def fail_at_first(marker: str) -> str:
    """Fail, unless the marker exists."""
    path = Path(marker)
    if path.exists():
        return "well in the end"
    path.touch()
    raise ValueError("the first time it fails")


@task
async def fail() -> None:
    raise NonRetryable("it cannot work")


@task
def put_off(marker: str) -> str:
    path = Path(marker)
    if path.exists():
        return "later"
    path.touch()
    raise RetryLater(0.01)


@task
async def hang() -> None:
    """Run until the attempt is stopped."""
    say("hanging")
    await asyncio.Event().wait()


@task
def hang_in_a_thread() -> None:
    say("hanging")
    threading.Event().wait()


@task
async def take(seconds: float) -> float:
    await asyncio.sleep(seconds)  # This is the duration of the task.
    return seconds


@task(timeout=0.2)
async def run_out_of_time() -> None:
    await asyncio.Event().wait()


@task
def die_at_first(marker: str) -> str:
    """Kill the container, unless the marker exists."""
    path = Path(marker)
    if path.exists():
        return "alive"
    path.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "dead"


@task
async def leave() -> None:
    """End the process with exit code 0, and record nothing."""
    os._exit(0)


@task
async def outlive_two_signals() -> None:
    """Clean up for a moment after the attempt was stopped."""
    say("hanging")
    try:
        await asyncio.Event().wait()
    finally:
        say("cleaning")
        await asyncio.sleep(0.5)  # This is the duration of the task.
        say("clean")


@task(backoff=AT_ONCE)
async def wait_for(marker: str) -> str:
    """Print a slow beat until the marker exists."""
    say(f"process {os.getpid()}")
    beats = 0
    while not Path(marker).exists():  # noqa: ASYNC240 -- a look takes no time
        await asyncio.sleep(0.1)  # This is the duration of the task.
        beats += 1
        say(f"beat {beats}")
    return "waited"
