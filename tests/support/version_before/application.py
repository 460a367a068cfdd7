"""
A process of an application, with the version of lq that it finds: ``application.py NAME ADDRESS leave|work``.

It runs with the version before, so it uses only what that has, except where NAME is "now".
"""

import asyncio
import sys

import lq_core
from lq_core import Backoff, QueueConfig, QueueService, TaskContext, Worker, schedule, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig

NAME, ADDRESS, ROLE = sys.argv[1:]


@task(name="versions.who")
async def who(number: int) -> str:
    """Return the name of the process."""
    return f"{NAME} {number}"


@task(name="versions.stumble", retries=2, backoff=Backoff(base=0.01, jitter=0))
async def stumble(context: TaskContext) -> str:
    """Fail once."""
    await context.log(f"at {NAME}")
    if context.record.retry_count == 0:
        raise ValueError(NAME)
    return NAME


schedule(who.call(0), name="versions.tick", every=1)


async def leave(queue: QueueService) -> None:
    """Leave records of every kind to other processes."""
    chain = [who.call(1), who.call(2)]
    await queue.enqueue_many([*chain, who.using(after=chain).call(3)])
    await queue.enqueue(who.using(delay=0.5, priority=3, metadata={"from": NAME}), 4)
    await queue.enqueue(who.using(concurrency_key="one", timeout=30, retries=1), 5)
    await queue.enqueue(stumble)
    await queue.enqueue(who.using(key=f"of {NAME}", delay=3600), 6)
    if NAME == "now":
        await queue.enqueue(who.using(on_loss="fail", queue="new"), 7)
        await queue.enqueue(who.using(max_losses=2, retry_on=(OSError,), queue="new"), 8)


async def main() -> None:
    """Play the role; a worker works until it is killed."""
    backend = PostgresConfig(dsn=ADDRESS) if "://" in ADDRESS else SQLiteConfig(path=ADDRESS)
    config = QueueConfig(queue_backend=backend, poll_interval=0.1, heartbeat_interval=0.2, heartbeat_timeout=2)
    async with QueueService(config) as queue:
        if ROLE == "leave":
            await leave(queue)
            sys.stdout.write(f"left with {lq_core.__file__}\n")
            return
        async with Worker(queue):
            sys.stdout.write(f"working with {lq_core.__file__}\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


asyncio.run(main())
