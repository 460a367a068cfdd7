"""The events of one record as server-sent events, in streams that end themselves before they hold up a shutdown."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final
from uuid import UUID

import msgspec
from litestar.response import ServerSentEventMessage
from msgspec.structs import replace

from lq_core import Event, QueueService
from lq_core.foundation.duration import Duration, seconds

LONGEST: Final = 20.0
"""Seconds of one stream. Servers wait for open streams when they shut down, and browsers connect again."""

END: Final = "end"
"""The name of the message that tells a browser to close its ``EventSource``: the record has ended."""


async def record_events(
    queue_service: QueueService, record_id: UUID, *, after: str | None = None, within: Duration = LONGEST
) -> AsyncGenerator[ServerSentEventMessage]:
    """
    Yield the events of a record, for a ``ServerSentEvent`` response: ``ServerSentEvent(record_events(...))``.

    Each message has the name of its event, and the event as JSON, without tracebacks. The last message of a record that
    has ended is ``end``. The stream ends after *within* seconds in any case. The browser connects again with the header
    ``Last-Event-ID``, whose value is *after*, and gets the later events and the progress as it is; an event of the same
    moment may come again.

    Check before whether the user may see the record. Raises RecordNotFoundError when it is iterated.
    """
    seen_at = (after or "").partition(" ")[0]
    deadline = asyncio.get_running_loop().time() + seconds(within)
    async with aclosing(queue_service.events(of=[record_id])) as events:
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    event = await anext(events)
            except TimeoutError:
                return
            except StopAsyncIteration:
                break
            place = f"{event.at.isoformat(timespec='microseconds')} {event.event} {event.attempt}"
            if event.progress is not None:
                yield ServerSentEventMessage(event=event.event, data=_shown(event))
            elif place != after and place.partition(" ")[0] >= seen_at:
                yield ServerSentEventMessage(event=event.event, id=place, data=_shown(event))
    yield ServerSentEventMessage(event=END)


def _shown(event: Event) -> str:
    failure = event.failure and replace(event.failure, traceback="")
    return msgspec.json.encode(replace(event, failure=failure)).decode()
