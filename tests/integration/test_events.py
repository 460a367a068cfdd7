"""What can be followed while it happens: the log of a task, its progress, and the events of records."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace
from typing_extensions import override

import shop
from lq_core import (
    Event,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    RecordFilter,
    RecordNotFoundError,
    TaskContext,
    Worker,
    task,
    timeline,
)
from lq_core.contracts import a_record
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.records.identity import id_of
from lq_core.service.events import LOOK_INTERVAL
from programs import until


@task(name="events.tell")
async def tell(context: TaskContext, lines: int) -> None:
    for line in range(lines):
        await context.log(f"line {line}")
    await context.progress(1, 2)
    await shop.gate.through_middleware()


@task(name="events.tell_from_a_thread")
def tell_from_a_thread(context: TaskContext) -> None:
    context.log_from_thread("from a thread")


async def test_what_a_task_logs_is_read_while_it_runs(service: QueueService, worker: Worker) -> None:
    shop.new_gate()
    sent = await service.enqueue(tell, 3)

    async def told() -> bool:
        return len((await sent.refresh()).history) == 3

    await until(told, what="three lines are stored")
    shop.gate.opened.set()
    await sent.wait(timeout=10)

    assert [(entry.event, entry.message) for entry in sent.record.history] == [
        ("log", "line 0"),
        ("log", "line 1"),
        ("log", "line 2"),
    ]


async def test_a_long_log_keeps_its_newest_lines_and_every_failure(service: QueueService, worker: Worker) -> None:
    shop.new_gate().opened.set()
    sent = await service.enqueue(tell, 80)

    await sent.wait(timeout=10)

    assert [entry.message for entry in sent.record.history] == [f"line {line}" for line in range(30, 80)]


async def test_a_plain_function_logs_from_its_thread(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(tell_from_a_thread)
    await sent.wait(timeout=10)

    assert [entry.message for entry in sent.record.history] == ["from a thread"]


async def test_events_of_a_record_are_told_until_it_has_ended(service: QueueService, worker: Worker) -> None:
    shop.new_gate()
    sent = await service.enqueue(tell, 1)

    told: list[Event] = []
    async with asyncio.timeout(10):
        async for event in service.events(of=[sent]):
            told.append(event)
            if event.event == "progress":
                shop.gate.opened.set()

    assert [event.event for event in told] == ["enqueued", "claimed", "log", "progress", "completed"]
    assert told[1].worker_id == worker.worker_id


async def test_every_attempt_is_in_the_timeline(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.stumble, 2)
    await sent.wait(timeout=10)

    assert [(event.event, event.attempt) for event in timeline(sent.record)] == [
        ("enqueued", 0),
        ("claimed", 1),
        ("retried", 1),
        ("claimed", 2),
        ("retried", 2),
        ("claimed", 3),
        ("completed", 3),
    ]


async def test_the_stream_of_a_queue_tells_what_is_enqueued_from_now_on(service: QueueService, worker: Worker) -> None:
    before = await service.enqueue(shop.add, 1, 2)
    await before.wait(timeout=10)
    stream = service.events(RecordFilter(queues=("films",)))
    following = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)  # The stream begins to follow before anything is enqueued.

    _ = await service.enqueue(shop.add, 1, 2)
    sent = await service.enqueue(shop.add.using(queue="films"), 1, 2)
    async with asyncio.timeout(10):
        first = await following
        rest = [await anext(stream), await anext(stream)]
    await stream.aclose()

    assert {event.record_id for event in (first, *rest)} == {sent.id}
    assert [event.event for event in (first, *rest)] == ["enqueued", "claimed", "completed"]


class Busy(InMemoryQueueBackend):
    """Gets a record just before it is asked for the first page of what there is."""

    @override
    async def open(self) -> None:
        await super().open()
        self.is_quiet = True

    @override
    async def find(
        self, condition: RecordFilter, *, limit: int = 100, before: UUID | None = None, after: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        if self.is_quiet:
            self.is_quiet = False
            _ = await self.insert([a_record()])
        return await super().find(condition, limit=limit, before=before, after=after)


async def test_the_stream_of_a_queue_tells_what_is_enqueued_while_it_begins() -> None:
    config = QueueConfig(queue_backend="memory")
    async with QueueService(config, queue_backend=Busy(config)) as service, asyncio.timeout(10):
        event = await anext(service.events())

    assert event.event == "enqueued"


async def test_the_stream_of_a_queue_does_not_tell_what_happened_just_before_it_began() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as service, asyncio.timeout(30):
        for _ in range(20):  # Some of them in the same millisecond.
            sent = await service.enqueue(shop.add.using(delay=600), 1, 2)
            await service.cancel(sent.id)
            stream = service.events()
            following = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)  # The stream begins to follow before anything else happens.
            await service.retry(sent.id)

            assert (await following).event == "retried_by_hand"
            await stream.aclose()


async def test_the_stream_of_a_queue_tells_of_records_with_old_ids(service: QueueService) -> None:
    """Schedules that catch up, machines whose clock is slow, and retries by hand."""
    at = service.queue_backend.now()
    waiting = a_record(id=id_of("hourly", at - timedelta(minutes=2)), delay=600)
    await service.queue_backend.insert([waiting])
    cancelled = await service.enqueue(shop.add.using(delay=600), 1, 2)
    await service.cancel(cancelled.id)
    stream = service.events()
    following = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)  # The stream begins to follow before anything else happens.

    at = service.queue_backend.now()
    due = a_record(id=id_of("nightly", at - timedelta(minutes=1)), task_name=shop.add.name, created_at=at)
    await service.queue_backend.insert([replace(due, arguments='{"first":1,"second":2}')])
    await service.retry(cancelled.id)
    async with asyncio.timeout(10):
        events = [await following, await anext(stream)]
        async with Worker(service):
            events += [await anext(stream) for _ in range(4)]
    await stream.aclose()

    assert waiting.id not in {event.record_id for event in events}
    assert [event.event for event in events if event.record_id == due.id] == ["enqueued", "claimed", "completed"]
    assert [event.event for event in events if event.record_id == cancelled.id] == [
        "retried_by_hand",
        "claimed",
        "completed",
    ]


async def test_a_consumer_that_pauses_is_told_everything_once(service: QueueService, worker: Worker) -> None:
    stream = service.events()
    following = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)  # The stream begins to follow before anything is enqueued.
    sent = [await service.enqueue(shop.add, 0, 0)]
    events = [await following]

    sent += await service.enqueue_many(shop.add.call(1, number) for number in range(600))
    for each in sent:
        await each.wait(timeout=30)
    now = service.queue_backend.now
    service.queue_backend.now = lambda: now() + timedelta(minutes=1)
    async with asyncio.timeout(30):
        while sum(event.event == "completed" for event in events) < len(sent):
            events.append(await anext(stream))
    rest = asyncio.create_task(anext(stream))
    done, _ = await asyncio.wait([rest], timeout=3 * LOOK_INTERVAL)
    rest.cancel()

    assert not done
    assert len(events) == 3 * len(sent)
    assert len({(event.record_id, event.event) for event in events}) == 3 * len(sent)


@task(name="events.report_and_end")
async def report_and_end(context: TaskContext) -> None:
    await context.progress(1, 1)


async def test_no_progress_is_told_after_the_end(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(report_and_end)
    await sent.wait(timeout=10)

    told = [event.event async for event in service.events(of=[sent])]

    assert told == ["enqueued", "claimed", "progress", "completed"]


async def test_who_follows_nothing_is_told(service: QueueService) -> None:
    with pytest.raises(RecordNotFoundError):
        _ = await anext(service.events(of=[uuid4()]))
