"""Tasks that run in child processes, which import this module."""

import asyncio
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lq_core import INJECTED, NonRetryable, RetryLater, TaskContext, per_attempt, per_worker, task
from lq_core.records.record import Backoff

log = logging.getLogger("shop.process")


@dataclass
class Pool:
    """Opened once in each child."""

    pid: int


@dataclass
class Session:
    """Opened for each attempt."""

    pool: Pool


@per_worker
async def pool() -> AsyncIterator[Pool]:
    yield Pool(os.getpid())


@per_attempt
def session(pool: Pool) -> Iterator[Session]:
    yield Session(pool)


@contextmanager
def held(port: int) -> Generator[socket.socket]:
    """Hold a connection to the test, which ends with the function or with its process."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"begun")
        yield connection


@task(execution_backend="process", name="process.pid")
def pid() -> int:
    return os.getpid()


@task(execution_backend="process", name="process.pid_async")
async def pid_async() -> int:
    return os.getpid()


@task(execution_backend="process", name="process.later")
async def later(at: datetime, price: Decimal, *, times: int = 1) -> tuple[datetime, Decimal]:
    return at, price * times


@task(execution_backend="process", name="process.die", backoff=Backoff(base=0, jitter=0))
def die(how: str) -> None:
    if how == "exit":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


@task(execution_backend="process", name="process.hold")
def hold(port: int) -> str:
    """Block until the test sends something."""
    with held(port) as connection:
        return connection.recv(100).decode()


@task(execution_backend="process", name="process.spin")
async def spin(port: int) -> None:
    """Block the event loop of the child for ever."""
    with held(port):
        while True:
            pass


@task(execution_backend="process", name="process.tidy")
async def tidy(context: TaskContext, port: int) -> None:
    """Clean up when it is cancelled."""
    with held(port):
        try:
            await asyncio.Future()
        finally:
            await context.log("tidied up")


@task(execution_backend="process", name="process.tidy_plain")
def tidy_plain(context: TaskContext, port: int) -> None:
    """Check whether the function should stop, as a plain function does."""
    with held(port):
        while not context.cancelled:
            time.sleep(0.01)  # A plain function that looks at the flag has no event.
        raise InterruptedError("tidied up")


@task(execution_backend="process", name="process.report")
async def report(context: TaskContext, port: int) -> str:
    await context.progress(1, 2, "half")
    await context.log("a line")
    with held(port) as connection:
        await asyncio.to_thread(connection.recv, 100)
    return f"{context.record.task_name} {context.attempt} {context.cancelled}"


@task(execution_backend="process", name="process.report_plain")
def report_plain(context: TaskContext) -> None:
    context.progress_from_thread(1, 2)
    context.log_from_thread("a line")


@task(execution_backend="process", name="process.tell")
def tell() -> None:
    sys.stdout.write("printed")
    log.warning("told %s", "well", extra={"fact": 7})
    try:
        int("inner")
    except ValueError:
        log.exception("trouble")


@task(execution_backend="process", name="process.injected")
async def injected(session: Session = INJECTED) -> tuple[int, int]:
    return session.pool.pid, os.getpid()


@task(execution_backend="process", name="process.collect")
async def collect(context: TaskContext) -> list[int]:
    return await context.results(pid)


@task(execution_backend="process", name="process.refuse")
async def refuse() -> None:
    raise NonRetryable("no")


@task(execution_backend="process", name="process.put_off")
async def put_off(context: TaskContext) -> None:
    if context.attempt == 1:
        raise RetryLater(0, "not yet")


@task(execution_backend="process", name="process.walk", retries=1, backoff=Backoff(base=0))
async def walk(context: TaskContext) -> list[int]:
    """Note the number of the attempt in each step; die after the first one."""
    first = await context.step("1", lambda: context.attempt)
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    second, third = await asyncio.gather(*(context.step(name, lambda: context.attempt) for name in "23"))
    return [first, second, third]


@task(execution_backend="process", name="process.carry", retries=2)
async def carry(context: TaskContext) -> None:
    await context.step("too much", lambda: "x" * 2_000_000)


@task(execution_backend="process", name="process.fail_once", retries=1, backoff=Backoff(base=0, jitter=0))
def fail_once(context: TaskContext) -> int:
    if context.attempt == 1:
        raise ConnectionError("away")
    return context.attempt


@task(execution_backend="process", name="process.odd")
async def odd() -> object:
    return object()


@task(execution_backend="process", name="process.complete")
async def complete(context: TaskContext) -> None:
    await context.complete_in(object())


@task(execution_backend="process", name="process.signals")
def signals() -> int:
    """Start a program, and end it with SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as program:
        program.terminate()
    return program.returncode
