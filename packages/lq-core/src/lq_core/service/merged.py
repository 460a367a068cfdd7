"""Answers of several stores, made into one."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, TypeVar

from lq_core.queue import DueRecords, Rollup, Statistics
from lq_core.records.record import TaskStatus
from lq_core.service.demand import Demand

Answer = TypeVar("Answer")


async def all_of(asked: Iterable[Coroutine[object, object, Answer]]) -> list[Answer]:
    """Wait for all answers; raises the first error when every other one has answered or failed, too."""
    answers = await asyncio.gather(*asked, return_exceptions=True)
    found: list[Answer] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        found.append(answer)
    return found


async def first(*rounds: Iterable[Coroutine[object, object, Answer | None]]) -> Answer | None:
    """
    Return the first answer that is not None; without one, raises an error if there is one.

    A round begins when the one before has no answer. What still waits for its answer is cancelled.
    """
    failure: Exception | None = None
    for asked in rounds:
        waiting = [asyncio.create_task(each) for each in asked]
        try:
            for each in asyncio.as_completed(waiting):
                try:
                    if (answer := await each) is not None:
                        return answer
                except Exception as error:  # noqa: BLE001 -- it is raised if no other one has the answer
                    failure = failure or error
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    if failure is not None:
        raise failure
    return None


async def whole(read: Coroutine[Any, Any, Answer], *, left: set[asyncio.Task[Answer]]) -> Answer:
    """
    Return what is read.

    If this is cancelled, the read goes on, because a cancelled read can cost its connection; it is in *left* meanwhile.
    """
    reading = asyncio.create_task(read)
    await _ended(reading, left)
    return reading.result()


async def _ended(reading: asyncio.Task[Answer], left: set[asyncio.Task[Answer]]) -> None:
    def forget(one: asyncio.Task[Answer]) -> None:
        left.discard(one)
        if not one.cancelled():
            one.exception()  # Nobody waits for it.

    try:
        await asyncio.wait([reading])
    except asyncio.CancelledError:
        left.add(reading)
        reading.add_done_callback(forget)
        raise


async def streams(sources: Iterable[AsyncGenerator[Answer]]) -> AsyncGenerator[Answer]:
    """Yield what the sources yield, as it comes, until all have ended or one fails."""
    async with AsyncExitStack() as closing:
        waiting: dict[asyncio.Task[Answer | None], AsyncGenerator[Answer]] = {}

        async def stop() -> None:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

        for source in sources:
            closing.push_async_callback(source.aclose)
            waiting[asyncio.create_task(_next(source))] = source
        closing.push_async_callback(stop)
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                source, answer = waiting.pop(one), one.result()
                if answer is not None:
                    waiting[asyncio.create_task(_next(source))] = source
                    yield answer


async def _next(source: AsyncGenerator[Answer]) -> Answer | None:
    return await anext(source, None)


def statistics(found: Sequence[Statistics]) -> Statistics:
    """Add the numbers of each queue; the oldest ones say how old all are."""
    counts: defaultdict[str, defaultdict[TaskStatus, int]] = defaultdict(lambda: defaultdict(int))
    due: dict[str, DueRecords] = {}
    for one in found:
        for queue, by_status in one.counts.items():
            for status, number in by_status.items():
                counts[queue][status] += number
        for queue, here in one.due.items():
            there = due.get(queue, DueRecords(0, here.oldest))
            due[queue] = DueRecords(here.number + there.number, min(here.oldest, there.oldest))
    by_queue = {queue: dict(by_status) for queue, by_status in counts.items()}
    return Statistics(counts=by_queue, due=due, age=max(one.age for one in found))


def demand(found: Sequence[Demand]) -> Demand:
    """Add the numbers of stores; as many workers are wanted as for the store that wants most."""
    rate = sum(one.arrivals_per_second for one in found)
    work = sum(one.arrivals_per_second * one.seconds_per_record for one in found)
    return Demand(
        workers_wanted=max(one.workers_wanted for one in found),
        slots_wanted=sum(one.slots_wanted for one in found),
        slots_per_worker=found[0].slots_per_worker,
        target_wait=found[0].target_wait,
        due=sum(one.due for one in found),
        running=sum(one.running for one in found),
        oldest_wait=max(one.oldest_wait for one in found),
        arrivals_per_second=rate,
        seconds_per_record=work / rate if rate else max(one.seconds_per_record for one in found),
    )


def rollups(found: Sequence[Sequence[Rollup]]) -> Sequence[Rollup]:
    """Add the numbers of each minute, oldest first."""
    rows: dict[tuple[datetime, str], Sequence[int]] = {}
    for one in (each for several in found for each in several):
        place = one.minute, one.queue
        rows[place] = [*map(sum, zip(rows[place], one.numbers, strict=True))] if place in rows else one.numbers
    return [Rollup.of_numbers(*place, rows[place]) for place in sorted(rows)]
