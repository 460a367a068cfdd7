"""The check after a soak: every record has ended once, every effect is there, and nothing is left."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from lq_core import QueuedTaskRecord, QueueService, RecordFilter, TaskStatus
from lq_core.records import lifecycle
from soak.effects import CLEAN, EFFECT, START, Line
from soak.work import KINDS, TICK

STILL_OPEN: Final = RecordFilter(statuses=(TaskStatus.PENDING, TaskStatus.DISPATCHED, TaskStatus.RUNNING))
PAGE: Final = 1000
MANY: Final = 20
"""The most problems that a result has."""


class SoakResult(NamedTuple):
    """The result of a soak."""

    problems: Sequence[str]
    """One sentence for each problem; empty if there is none."""

    counts: Mapping[str, int]
    """How often things happened, by name."""


async def check_soak(service: QueueService, log: Sequence[Line]) -> SoakResult:
    """Compare the stored records with the effect log."""
    records = {record.id: record async for record in _all(service)}
    left = [f"the worker {worker.id} has left its row behind" for worker in await service.workers()]
    problems = [*left, *_forgotten(records, log), *_misreported(records), *_uncounted(records, log)]
    return SoakResult(problems[:MANY], _counts(records, log))


async def _all(service: QueueService) -> AsyncIterator[QueuedTaskRecord]:
    before: UUID | None = None
    while page := await service.find(limit=PAGE, before=before):
        for record in page:
            yield record
        before = page[-1].id


def _forgotten(records: Mapping[UUID, QueuedTaskRecord], log: Sequence[Line]) -> Iterator[str]:
    """Find records that are missing, that have not ended, or whose end is not allowed for their kind."""
    ends = {f"stored:{kind.name}": kind.ends for kind in KINDS}
    for record in records.values():
        if not record.has_ended:
            yield f"{record.task_name} {record.id} is still {record.status}, attempt {record.attempt}"
    for line in log:
        if line.what in ends:
            record = records.get(line.record_id)
            if record is None:
                yield f"a producer enqueued {line.record_id}, but it is missing"
            elif record.has_ended and record.status not in ends[line.what] and not _is_excused(record, records):
                error = record.error and f"{record.error.type}: {record.error.message}"
                yield f"{record.id} of {line.what} is {record.status}: {error}"


def _is_excused(record: QueuedTaskRecord, records: Mapping[UUID, QueuedTaskRecord]) -> bool:
    """Return whether the record was lost too often, or a predecessor did not complete."""
    if record.status is TaskStatus.FAILED:
        return record.losses >= lifecycle.MAX_LOSSES
    before = record.after.ids if record.after else ()
    return any(records[one].status is not TaskStatus.COMPLETED for one in before)


def _misreported(records: Mapping[UUID, QueuedTaskRecord]) -> Iterator[str]:
    """Find stored outcomes that are not from the last attempt, and due times that fired twice."""
    for record in records.values():
        if record.status is TaskStatus.COMPLETED and record.result != str(record.attempt):
            yield f"{record.id} holds the outcome of attempt {record.result}; the last was {record.attempt}"
    due = Counter(one.scheduled_at for one in records.values() if one.schedule == TICK and not one.history)
    for moment, number in due.items():
        if number > 1:
            yield f"{TICK} has fired {number} times for {moment}"


def _uncounted(records: Mapping[UUID, QueuedTaskRecord], log: Sequence[Line]) -> Iterator[str]:
    """Find attempts that began twice or were not counted, and completed records without an effect."""
    starts = Counter((line.record_id, line.attempt) for line in log if line.what == START)
    effects = {(line.record_id, line.attempt) for line in log if line.what == EFFECT}
    for (record_id, attempt), number in starts.items():
        record = records.get(record_id)
        if record is None:
            yield f"{record_id} was started, but it is missing"
        elif number > 1 or attempt > record.attempt:
            yield f"attempt {attempt} of {record_id} was begun {number} times; {record.attempt} are counted"
    for record in records.values():
        if record.status is TaskStatus.COMPLETED and (record.id, record.attempt) not in effects:
            yield f"{record.task_name} {record.id} has completed without its effect"


def _counts(records: Mapping[UUID, QueuedTaskRecord], log: Sequence[Line]) -> Mapping[str, int]:
    noted = Counter(line.what for line in log)
    effects = Counter(line.record_id for line in log if line.what == EFFECT)
    return {
        "records": len(records),
        "records that a producer enqueued": sum(noted[f"stored:{kind.name}"] for kind in KINDS),
        **{f"{status} records": sum(one.status is status for one in records.values()) for status in TaskStatus},
        "attempts": sum(record.attempt for record in records.values()),
        "effects": noted[EFFECT],
        "effects again, after a loss": sum(number - 1 for number in effects.values()),
        "starts that were lost": sum(record.losses for record in records.values()),
        "retries": sum(record.retry_count for record in records.values()),
        "clean ends of workers": noted[CLEAN],
    }
