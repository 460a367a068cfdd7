"""Which statement reads a page of records: the one whose index fits what is looked for."""

from typing import Final, NamedTuple
from uuid import UUID

from lq_core.queue import RecordFilter
from lq_core.record import TaskStatus
from lq_postgres.statements import reading

SHELVED: Final = frozenset({TaskStatus.DISPATCHED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED})
"""Statuses that an index knows; so it does ``running``, for records that do not run locally."""

LOCAL: Final = frozenset({"local", "immediate"})

_LAST: Final = UUID(int=2**128 - 1)


class Page(NamedTuple):
    """One question: a statement and its parameters."""

    sql: str
    parameters: tuple[object, ...]


def page_of(condition: RecordFilter, *, limit: int, before: UUID | None, after: UUID | None) -> Page:
    """Choose the statement: oldest first when *after* is given, else newest first."""
    newest, oldest = _statements(condition)
    sql, bound = (newest, before or _LAST) if after is None else (oldest, after)
    return Page(sql, (*conditions(condition), bound, limit))


def conditions(condition: RecordFilter) -> tuple[object, ...]:
    """Give a condition as the parameters of ``reading.MATCHES``."""
    return (
        None if condition.statuses is None else [status.value for status in condition.statuses],
        *(condition.queues, condition.task_names, condition.execution_backends),
        *(condition.created_after, condition.created_before, condition.key, condition.schedule),
    )


def _statements(condition: RecordFilter) -> tuple[str, str]:
    if condition.key is not None:
        return reading.FIND_NEWEST_BY_KEY, reading.FIND_OLDEST_BY_KEY
    if condition.schedule is not None:
        return reading.FIND_NEWEST_BY_SCHEDULE, reading.FIND_OLDEST_BY_SCHEDULE
    if condition.statuses is not None:
        others = set(condition.statuses) - SHELVED
        elsewhere = condition.execution_backends is not None and not LOCAL & set(condition.execution_backends)
        if not others or (others == {TaskStatus.RUNNING} and elsewhere):
            return reading.FIND_NEWEST_SHELVED, reading.FIND_OLDEST_SHELVED
    return reading.FIND_NEWEST, reading.FIND_OLDEST
