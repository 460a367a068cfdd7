"""The events of a record as server-sent events: what each stream yields, and when it ends."""

from litestar.response import ServerSentEventMessage

from lq_core import NonRetryable, TaskContext, task
from lq_core.testing import QueueTestbed
from lq_litestar import record_events


@task(name="events.greet")
async def greet(context: TaskContext, name: str) -> str:
    await context.progress(1, total=2)
    return f"Hello, {name}."


@task(name="events.break")
async def break_down() -> None:
    raise NonRetryable("no paper")


async def messages(*given: object, **options: object) -> list[ServerSentEventMessage]:
    return [message async for message in record_events(*given, **options)]  # pyright: ignore[reportArgumentType] -- passed on as they are


async def test_a_stream_of_a_record_that_waits_ends_by_itself_and_the_next_one_goes_on() -> None:
    async with QueueTestbed() as bed:
        sent = await bed.service.enqueue(greet, "Ada")
        first = await messages(bed.service, sent.id, within=0.05)
        bed.advance(1)
        await bed.drain()
        second = await messages(bed.service, sent.id, after=str(first[-1].id))

    assert [message.event for message in first] == ["enqueued"]
    assert [message.event for message in second] == ["claimed", "progress", "completed", "end"]
    assert [bool(message.id) for message in second] == [True, False, True, False]


async def test_a_browser_that_has_seen_everything_is_only_told_that_it_has_ended() -> None:
    async with QueueTestbed() as bed:
        sent = await bed.service.enqueue(break_down)
        bed.advance(1)
        await bed.drain()
        first = await messages(bed.service, sent.id)
        again = await messages(bed.service, sent.id, after=str(first[-2].id))

    assert {message.event for message in again} <= {"claimed", "end"}  # The clock stands still, so it ties.
    assert [message.event for message in first][-2:] == ["failed", "end"]
    assert "no paper" in str(first[-2].data)
    assert "Traceback" not in str(first[-2].data)
