"""
The tasks that the contract of execution backends runs.

They are not part of the suite, so that an executor does not need the test tools.
"""

import asyncio
import os

from lq_core.tasks.context import TaskContext
from lq_core.tasks.decorator import task


@task(name="lq_core.probes.add")
async def add(first: int, second: int) -> int:
    """Return the sum."""
    return first + second


@task(name="lq_core.probes.fail")
async def fail(context: TaskContext) -> None:
    """Raise an error."""
    raise ValueError(f"attempt {context.attempt} failed")


@task(name="lq_core.probes.hold")
async def hold(port: int) -> None:
    """Run until it is cancelled, or the suite closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.read()
    finally:
        writer.close()


@task(name="lq_core.probes.die")
async def die() -> None:
    """End the process of the executor at once."""
    os._exit(9)


@task(name="lq_core.probes.walk")
async def walk(context: TaskContext) -> None:
    """Take one step, and wait for the signal ``go``."""
    await context.step("first", lambda: context.attempt)
    await context.wait_for("go")
