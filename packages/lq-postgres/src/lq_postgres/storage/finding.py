"""Finding records by the statement whose index fits, and counting them without repeating slow counts."""

from datetime import datetime
from typing import Final

from lq_core.queue import DueRecords, RecordFilter, Statistics
from lq_core.queue.kept_statistics import KeptStatistics
from lq_core.records.record import TaskStatus
from lq_postgres.connection.driver import Fetch
from lq_postgres.statements import reading

INDEXED: Final = frozenset({TaskStatus.DISPATCHED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED})
"""The statuses that have an index; ``running`` has one for records with an execution reference."""


def statement_for(condition: RecordFilter) -> str:
    """Choose the statement that finds the newest records."""
    if condition.key is not None:
        return reading.FIND_BY_KEY
    if condition.schedule is not None:
        return reading.FIND_BY_SCHEDULE
    if condition.statuses == (TaskStatus.PENDING,) and condition.newest is None:
        place = RecordFilter(
            statuses=condition.statuses, queues=condition.queues, execution_backends=condition.execution_backends
        )
        return reading.FIND_PENDING if condition == place else reading.FIND_PENDING_WITH
    indexed = INDEXED | {TaskStatus.RUNNING} if condition.external else INDEXED
    is_indexed = condition.statuses is not None and indexed.issuperset(condition.statuses)
    if not is_indexed:
        return reading.FIND
    is_named = condition.newest is None and (condition.queues is not None or condition.task_names is not None)
    return reading.FIND_BY_STATUS_AND_NAME if is_named else reading.FIND_BY_STATUS


def with_rare(sql: str, condition: RecordFilter, first: int) -> tuple[str, tuple[object, ...]]:
    """Add the rare conditions to a search, and return their parameters; the number of the first one is *first*."""
    asked = (
        (reading.FINISHED_AFTER, condition.finished_after),
        (reading.FINISHED_BEFORE, condition.finished_before),
        (reading.NEWEST, condition.newest),
        *((reading.words_in(words.columns), words.fragments) for words in condition.words()),
    )
    given = [(text, value) for text, value in asked if value is not None]
    added = "".join(text.format(place) for place, (text, _) in enumerate(given, first))
    return sql.replace("{matches}", "{matches}" + added), tuple(value for _, value in given)


def conditions(condition: RecordFilter) -> tuple[object, ...]:
    """Write a condition as the parameters of ``reading.MATCHES``."""
    return (
        None if condition.statuses is None else [status.value for status in condition.statuses],
        *(condition.queues, condition.task_names, condition.execution_backends),
        *(condition.created_after, condition.created_before, condition.key, condition.schedule, condition.external),
    )


class Counting:
    """Counts records by queue and status, and keeps a slow count for a while."""

    def __init__(self, read_whole: Fetch) -> None:
        self._read_whole = read_whole
        self._kept = KeptStatistics()

    async def statistics(self, *, at: datetime | None) -> Statistics:
        """Count the records."""
        return await self._kept.read(lambda: self._count(at))

    async def _count(self, at: datetime | None) -> Statistics:
        counts: dict[str, dict[TaskStatus, int]] = {}
        due: dict[str, DueRecords] = {}
        for queue, status, number, number_due, oldest in await self._read_whole(reading.STATISTICS, at):
            counts.setdefault(queue, {})[TaskStatus(status)] = number
            if number_due:  # Only pending records are due, so that a queue has one such row.
                due[queue] = DueRecords(number_due, oldest)
        return Statistics(counts=counts, due=due)
