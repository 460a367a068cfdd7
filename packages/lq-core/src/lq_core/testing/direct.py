"""A context for tests that call the function of a task directly."""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from threading import Thread
from uuid import UUID

from msgspec.structs import replace

from lq_core.foundation.clock import utc_now
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.validation import LARGEST_NUMBER
from lq_core.records import steps
from lq_core.records.identity import new_id
from lq_core.records.record import Fence, Progress, QueuedTaskRecord, TaskStatus
from lq_core.tasks.context import CURRENT, TaskContext
from lq_core.tasks.owner import Owner


@contextmanager
def task_context(*, attempt: int = 1) -> Generator[TaskContext]:
    """
    Give a context to the tasks that a test calls in this block.

    Their progress is in ``context.record.progress``. *attempt* is the number of the attempt.
    """
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="lq-task-context", daemon=True)
    thread.start()
    now = utc_now()
    record = QueuedTaskRecord(
        id=new_id(), task_name="test", status=TaskStatus.RUNNING, attempt=attempt, created_at=now, scheduled_at=now
    )

    async def report(_: Fence, said: Progress | str) -> None:
        if isinstance(said, Progress):
            context.record = replace(context.record, progress=said)

    async def read(_: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        return []

    async def complete(*_: object) -> None:
        raise ConfigurationError("task_context() has no queue backend to complete a record in; use a QueueTestbed.")

    async def keep(_: Fence, event: str, name: str, value: str) -> None:
        context.record = steps.keep(context.record, event, name, value, at=utc_now(), most_bytes=LARGEST_NUMBER)

    context = TaskContext(record, Owner(report=report, keep=keep, read=read, complete=complete), loop=loop)
    entered = CURRENT.set(context)
    try:
        yield context
    finally:
        CURRENT.reset(entered)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
