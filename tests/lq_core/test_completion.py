"""Waiting for a record: whoever waits is told in the end, also what is wrong."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from lq_core import QueueConfig, QueuedTaskRecord, QueueError, QueueService, RecordNotFoundError, task
from lq_core.completion import Completions


async def test_whoever_waits_is_told_that_looking_is_broken() -> None:
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


async def test_whoever_waits_is_told_that_the_service_was_closed() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        sent = await service.enqueue(send.using(execution_backend="local"))
        waiting = asyncio.create_task(sent.wait())
        await asyncio.sleep(0)

    with pytest.raises(QueueError, match=f"The QueueService was closed while record {sent.id} was waited for"):
        await waiting
