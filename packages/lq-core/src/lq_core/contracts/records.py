"""Records, workers and claims for tests: a test names only the fields that matter to it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

from msgspec.structs import replace

from lq_core.foundation.clock import utc_now
from lq_core.queue import BaseQueueBackend, Claim, Swap, WorkerInfo
from lq_core.records.identity import new_id
from lq_core.records.record import QueuedTaskRecord

Backend = TypeVar("Backend", bound=BaseQueueBackend)


def a_record(*, delay: float = 0.0, **changes: object) -> QueuedTaskRecord:
    """Make a pending record that becomes due *delay* seconds from now, with these fields."""
    # A second ago, so that it is due even if the clock of the database is a little behind.
    at = utc_now() - timedelta(seconds=1)
    scheduled_at = at if delay == 0 else at + timedelta(seconds=delay + 1)
    record = QueuedTaskRecord(id=new_id(), task_name="test.task", created_at=at, scheduled_at=scheduled_at)
    return replace(record, **changes)


def a_worker(worker_id: str = "ada") -> WorkerInfo:
    """Make a worker that starts now."""
    at = utc_now()
    return WorkerInfo(id=worker_id, execution_backends=("local",), concurrency=10, started_at=at, seen_at=at)


def a_claim(worker_id: str = "ada", *, limit: int = 100, **changes: object) -> Claim:
    """Make the claim of a worker that runs records locally, from every queue."""
    return replace(Claim(worker_id=worker_id, limit=limit, execution_backends=("local",)), **changes)


def a_swap(record: QueuedTaskRecord) -> Swap:
    """Make the swap to a record that a step of the lifecycle has just returned."""
    return Swap(record=record, epoch=record.epoch - 1)


async def claimed(
    queue: BaseQueueBackend, *records: QueuedTaskRecord, worker_id: str = "ada", **changes: object
) -> list[QueuedTaskRecord]:
    """Register a worker, store these records and claim them; return them in the order of the claim."""
    await queue.register(a_worker(worker_id))
    await queue.insert(records)
    return list((await queue.claim(a_claim(worker_id, limit=len(records), **changes))).records)


@asynccontextmanager
async def opened(queue: Backend) -> AsyncGenerator[Backend]:
    """Keep a queue backend open during a test."""
    await queue.open()
    try:
        yield queue
    finally:
        await queue.close()
