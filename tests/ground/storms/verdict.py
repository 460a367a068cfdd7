"""What must be true when a soak is over: every record has ended, once, every effect is there, and nothing is left."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from lq_core import QueuedTaskRecord, QueueService, RecordFilter, TaskStatus, lifecycle
from storms.book import CLEAN, EFFECT, START, Line
from storms.work import KINDS, TICK

STILL_OPEN: Final = RecordFilter(statuses=(TaskStatus.PENDING, TaskStatus.DISPATCHED, TaskStatus.RUNNING))
PAGE: Final = 1000
MANY: Final = 20
"""How many faults are told."""


class Verdict(NamedTuple):
    """What a soak has come to."""

    faults: Sequence[str]
    """What is not as it must be; empty when all is well."""

    counts: Mapping[str, int]
    """What was done and survived."""


async def judge(service: QueueService, book: Sequence[Line]) -> Verdict:
    """Compare the records that are stored with what the processes have noted."""
    records = {record.id: record async for record in _all(service)}
    left = [f"the worker {worker.id} has left its row behind" for worker in await service.workers()]
    faults = [*left, *_forgotten(records, book), *_misreported(records), *_uncounted(records, book)]
    return Verdict(faults[:MANY], _counts(records, book))


async def _all(service: QueueService) -> AsyncIterator[QueuedTaskRecord]:
    before: UUID | None = None
    while page := await service.find(limit=PAGE, before=before):
        for record in page:
            yield record
        before = page[-1].id


def _forgotten(records: Mapping[UUID, QueuedTaskRecord], book: Sequence[Line]) -> Iterator[str]:
    """Whatever a producer was told of is there, has ended, and in a way that its kind may end."""
    ends = {f"told:{kind.name}": kind.ends for kind in KINDS}
    for record in records.values():
        if not record.has_ended:
            yield f"{record.task_name} {record.id} is still {record.status}, attempt {record.attempt}"
    for line in book:
        if line.what in ends:
            record = records.get(line.record_id)
            if record is None:
                yield f"a producer was told of {line.record_id}, and it is not there"
            elif record.has_ended and record.status not in ends[line.what] and not _is_excused(record, records):
                error = record.error and f"{record.error.type}: {record.error.message}"
                yield f"{record.id} of {line.what} is {record.status}: {error}"


def _is_excused(record: QueuedTaskRecord, records: Mapping[UUID, QueuedTaskRecord]) -> bool:
    """Whether it was lost too often, or came after one that did not complete."""
    if record.status is TaskStatus.FAILED:
        return record.losses >= lifecycle.MAX_LOSSES
    before = record.after.ids if record.after else ()
    return any(records[one].status is not TaskStatus.COMPLETED for one in before)


def _misreported(records: Mapping[UUID, QueuedTaskRecord]) -> Iterator[str]:
    """The outcome that is stored is that of the last attempt, and no due time has fired twice."""
    for record in records.values():
        if record.status is TaskStatus.COMPLETED and record.result != str(record.attempt):
            yield f"{record.id} holds the outcome of attempt {record.result}; the last was {record.attempt}"
    due = Counter(one.scheduled_at for one in records.values() if one.schedule == TICK and not one.history)
    for moment, number in due.items():
        if number > 1:
            yield f"{TICK} has fired {number} times for {moment}"


def _uncounted(records: Mapping[UUID, QueuedTaskRecord], book: Sequence[Line]) -> Iterator[str]:
    """No attempt has begun twice, or without being counted; what has completed has had its effect."""
    starts = Counter((line.record_id, line.attempt) for line in book if line.what == START)
    effects = {(line.record_id, line.attempt) for line in book if line.what == EFFECT}
    for (record_id, attempt), number in starts.items():
        record = records.get(record_id)
        if record is None:
            yield f"{record_id} was started, and it is not there"
        elif number > 1 or attempt > record.attempt:
            yield f"attempt {attempt} of {record_id} was begun {number} times; {record.attempt} are counted"
    for record in records.values():
        if record.status is TaskStatus.COMPLETED and (record.id, record.attempt) not in effects:
            yield f"{record.task_name} {record.id} has completed without its effect"


def _counts(records: Mapping[UUID, QueuedTaskRecord], book: Sequence[Line]) -> Mapping[str, int]:
    noted = Counter(line.what for line in book)
    effects = Counter(line.record_id for line in book if line.what == EFFECT)
    return {
        "records": len(records),
        "of which a producer was told": sum(noted[f"told:{kind.name}"] for kind in KINDS),
        **{f"{status} records": sum(one.status is status for one in records.values()) for status in TaskStatus},
        "attempts": sum(record.attempt for record in records.values()),
        "effects": noted[EFFECT],
        "effects again, after a loss": sum(number - 1 for number in effects.values()),
        "starts that were lost": sum(record.losses for record in records.values()),
        "retries": sum(record.retry_count for record in records.values()),
        "clean ends of workers": noted[CLEAN],
    }
