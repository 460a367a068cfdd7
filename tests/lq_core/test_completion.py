"""Waiting for a record: whoever waits is told in the end, also what is wrong."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest
from typing_extensions import override

from lq_core import QueueConfig, QueuedTaskRecord, QueueError, QueueService, RecordNotFoundError, TaskStatus, task
from lq_core.contracts import a_record
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.service.completion import Completions


async def test_a_wait_raises_the_error_of_a_failed_look() -> None:
    async def read(_: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        raise ZeroDivisionError("the row cannot be read")

    async with asyncio.timeout(5):
        with pytest.raises(ZeroDivisionError, match="cannot be read"):
            await Completions(read, poll_interval=0.01).wait(UUID(int=1), timeout=None)


async def test_a_record_that_is_not_there_is_not_called_pending() -> None:
    async def read(_: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        return []

    with pytest.raises(RecordNotFoundError):
        await Completions(read, poll_interval=0.01).wait(UUID(int=1), timeout=0)


@task(name="completion.send")
async def send() -> None:
    """Do nothing."""


async def test_a_wait_raises_when_the_service_closes() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        sent = await service.enqueue(send.using(execution_backend="local"))
        waiting = asyncio.create_task(sent.wait())
        await asyncio.sleep(0)

    with pytest.raises(QueueError, match=f"The QueueService was closed while you waited for record {sent.id}"):
        await waiting


class HoldsOneAnswer(InMemoryQueueBackend):
    """A database that holds the answer to the next read of records back until :attr:`released` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held, self.released = asyncio.Event(), asyncio.Event()
        self.holds_next = False

    @override
    async def get_many(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        found = await super().get_many(ids)
        if self.holds_next:
            self.holds_next = False
            self.is_held.set()
            await self.released.wait()
        return found


async def test_a_wait_is_not_answered_by_a_look_that_began_before_it() -> None:
    backend = HoldsOneAnswer()
    async with QueueService(QueueConfig(queue_backend="memory"), queue_backend=backend) as service:
        sent = await service.enqueue(send.using(execution_backend="local"))
        await service.cancel(sent.id)
        backend.holds_next = True
        early = asyncio.create_task(service.wait(sent.id, timeout=60))
        await backend.is_held.wait()
        retried = await service.retry(sent.id)
        late = asyncio.create_task(service.wait(sent.id, timeout=60))
        await asyncio.sleep(0)

        backend.released.set()
        cancelled = await early
        await service.cancel(sent.id)

        assert (cancelled.status, cancelled.epoch) == (TaskStatus.CANCELLED, retried.epoch - 1)
        assert (await late).epoch == retried.epoch + 1


async def test_a_wait_for_a_new_record_is_not_refused_by_a_look_that_began_before_it() -> None:
    stored: list[QueuedTaskRecord] = []
    looking, answered = asyncio.Event(), asyncio.Event()
    record = a_record(status=TaskStatus.CANCELLED)

    async def read(_: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        found = list(stored)
        looking.set()
        await answered.wait()
        return found

    completions = Completions(read, poll_interval=0.01)
    early = asyncio.create_task(completions.wait(record.id, timeout=60))
    await looking.wait()
    stored.append(record)
    late = asyncio.create_task(completions.wait(record.id, timeout=60))
    await asyncio.sleep(0)

    answered.set()

    with pytest.raises(RecordNotFoundError):
        await early
    assert await late == record
