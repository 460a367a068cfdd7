"""A command that changes many records says what it has done, also when it is interrupted."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from lq_core import QueueConfig, QueueService, RecordFilter
from lq_core.cli.selection import Selection
from lq_core.contracts import a_record
from lq_core.records.record import QueuedTaskRecord, TaskStatus


async def never(service: QueueService, record: QueuedTaskRecord) -> str:
    raise AssertionError


async def test_an_interrupted_command_finishes_its_page_and_counts_what_it_has_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    is_on_its_way, goes_on = asyncio.Event(), asyncio.Event()

    async def pages(_: RecordFilter) -> AsyncGenerator[int]:
        yield 2
        is_on_its_way.set()
        await goes_on.wait()
        yield 3
        yield 4

    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        await service.queue_backend.insert([a_record() for _ in range(9)])
        selection = Selection((), RecordFilter(), yes=True, dry_run=False)
        changing = asyncio.create_task(
            selection.change(service, never, pages, statuses=tuple(TaskStatus), done="cancelled")
        )
        await is_on_its_way.wait()
        changing.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await changing

    assert capsys.readouterr().out == "5 of 9 records were cancelled.\n"
