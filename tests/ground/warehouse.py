"""
The tasks that run in the containers of tests, and the queue they belong to, as a container's environment says.

A container imports this module and nothing of the emulator, so that it starts as fast as a real one.
"""

import asyncio
import os
import signal
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

from lq_cloudrun import CloudRunExecutionConfig
from lq_core import Backoff, NonRetryable, QueueConfig, RetryLater, task
from lq_core.config import QueueBackendConfig
from lq_core.queue.sqlite import SQLiteConfig

IN_MEMORY = QueueConfig(queue_backend="memory")
AT_ONCE = Backoff(base=0.01, factor=1, jitter=0)


def sqlite_address(path: Path) -> str:
    """What to set as SHOP_QUEUE for a queue in this file."""
    return f"sqlite:{path}"


def queue_config() -> QueueConfig:
    """Where the shop keeps its records, by the variable SHOP_QUEUE."""
    return QueueConfig(
        queue_backend=_queue_backend(os.environ["SHOP_QUEUE"]),
        heartbeat_interval=float(os.environ.get("SHOP_HEARTBEAT", "5")),
        heartbeat_timeout=6 * float(os.environ.get("SHOP_HEARTBEAT", "5")),
        poll_interval=0.1,
    )


def queue_config_with_a_limit() -> QueueConfig:
    """As above, and it knows how long an execution may take: it is always about to be over."""
    return replace(queue_config(), execution_backend=CloudRunExecutionConfig("emulated", job_name="shop", timeout=1))


async def later_queue_config() -> QueueConfig:
    """As above, from a function that is awaited."""
    return queue_config()


def _queue_backend(address: str) -> QueueBackendConfig:
    if address.startswith("postgresql:"):
        from lq_postgres import PostgresConfig  # noqa: PLC0415 -- not installed where lq-cloudrun is tested alone

        return PostgresConfig(dsn=address, command_timeout=float(os.environ.get("SHOP_ANSWER", "15")))
    return SQLiteConfig(path=address.removeprefix("sqlite:"))


def say(text: str) -> None:
    """Print at once, so that a test may wait for it."""
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
    """Fail, unless the marker is there already."""
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
    """Run until somebody stops it."""
    say("hanging")
    await asyncio.Event().wait()


@task
def hang_in_a_thread() -> None:
    say("hanging")
    threading.Event().wait()


@task
async def take(seconds: float) -> float:
    await asyncio.sleep(seconds)  # The task is made to take its time; nobody waits by this clock.
    return seconds


@task(timeout=0.2)
async def run_out_of_time() -> None:
    await asyncio.Event().wait()


@task
def die_at_first(marker: str) -> str:
    """Kill the container, unless the marker is there already."""
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
    """Go on cleaning up for a moment after it was stopped."""
    say("hanging")
    try:
        await asyncio.Event().wait()
    finally:
        say("cleaning")
        await asyncio.sleep(0.5)  # The task is made to take its time; nobody waits by this clock.
        say("clean")


@task(backoff=AT_ONCE)
async def wait_for(marker: str) -> str:
    """Count a slow beat until the marker is there."""
    say(f"process {os.getpid()}")
    beats = 0
    while not Path(marker).exists():  # noqa: ASYNC240 -- a look takes no time
        await asyncio.sleep(0.1)  # The task is made to take its time; nobody waits by this clock.
        beats += 1
        say(f"beat {beats}")
    return "waited"
