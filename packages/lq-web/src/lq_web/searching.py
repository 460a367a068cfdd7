"""A search for records, as the query of an address says it; a search without an index looks at the newest alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from litestar.exceptions import PermissionDeniedException, ValidationException
from litestar.params import FromQuery, Parameter
from msgspec.structs import replace

from lq_core import QueuedTaskRecord, QueueService, RecordFilter, RecordSummary, TaskStatus
from lq_core.queue.search import values_of
from lq_web.config import Connection, Role, WebConfig
from lq_web.recent import KNOWN, Numbers
from lq_web.views import Page

PAGE_LIMIT: Final = 200
"""The most records on one page."""

SEARCHED: Final = 20_000
"""How many of the newest records a search looks at if it could have to look at very many."""

FEW: Final = frozenset(TaskStatus) - {TaskStatus.COMPLETED}
"""The statuses of records that need attention or are not many: a search for them looks at all."""

STARTED: Final = 5_000
"""How many of the newest records are looked at for those that have started since the running ones were found."""

Limit = Annotated[int, Parameter(ge=1, le=PAGE_LIMIT)]
Values = Annotated[
    list[str] | None, Parameter(description="A value of the record, as in `metadata.tenant=acme`; may be repeated.")
]
Text = Annotated[str | None, Parameter(description="Occurs in the task, arguments, metadata or last error.")]


async def condition_of(
    *,
    status: FromQuery[list[str] | None] = None,
    queue: FromQuery[list[str] | None] = None,
    task: FromQuery[list[str] | None] = None,
    key: FromQuery[str | None] = None,
    schedule: FromQuery[str | None] = None,
    text: FromQuery[Text] = None,
    value: FromQuery[Values] = None,
    error: FromQuery[str | None] = None,
    worker: FromQuery[str | None] = None,
    since: FromQuery[datetime | None] = None,
    until: FromQuery[datetime | None] = None,
) -> RecordFilter:
    """Make a filter of query parameters; the empty fields of a form do not count, and a moment without zone is UTC."""
    known = {one.value: one for one in TaskStatus}
    statuses = _given(status)
    unknown = [text for text in statuses or () if text not in known]
    if unknown:
        raise ValidationException(f"There is no status {unknown[0]!r}; use one of: {', '.join(known)}.")
    values = values_of(_given(value) or ())
    return RecordFilter(
        statuses=tuple(known[text] for text in statuses) if statuses else None,
        queues=_given(queue),
        task_names=_given(task),
        key=key or None,
        schedule=schedule or None,
        text=text or None,
        values=values,
        error_type=error or None,
        worker_id=worker or None,
        created_after=_in_utc(since),
        created_before=_in_utc(until),
    )


def query_of(condition: RecordFilter) -> dict[str, Any]:
    """Write a filter as query parameters, for the fields of a form; those that are not asked for are empty."""
    return {
        "status": condition.statuses,
        "queue": condition.queues,
        "task": condition.task_names,
        "key": condition.key,
        "schedule": condition.schedule,
        "text": condition.text,
        "value": tuple(f"{name}={value}" for name, value in condition.values.items()),
        "error": condition.error_type,
        "worker": condition.worker_id,
        "since": condition.created_after and condition.created_after.isoformat(),
        "until": condition.created_before and condition.created_before.isoformat(),
    }


def check_role(config: WebConfig, connection: Connection, condition: RecordFilter) -> None:
    """Refuse a search that could guess what this user must not see: tracebacks, and what ``redact`` hides."""
    if condition.searches_text and config.role(connection) is not Role.OPERATE:
        raise PermissionDeniedException("Your role may look at records, but not search in their texts.")


async def page_of(
    service: QueueService,
    config: WebConfig,
    numbers: Numbers,
    condition: RecordFilter,
    *,
    limit: int,
    before: UUID | None,
) -> Page:
    """Read one page of records, newest first; a search in texts finds only what ``redact`` leaves visible."""
    records, newest, age = await _search(service, numbers, condition, limit=limit + 1, before=before)
    visible = [config.redact(record) for record in records[:limit]]
    shown = [RecordSummary.of(record) for record in visible if not condition.searches_text or condition.matches(record)]
    is_last = len(records) <= limit
    is_bounded = is_last and newest is not None and await _are_more_than(numbers, SEARCHED)
    return Page(
        records=shown,
        next=None if is_last else visible[-1].id,
        looked_at_newest=SEARCHED if is_bounded else None,
        age=age,
    )


async def _search(
    service: QueueService, numbers: Numbers, condition: RecordFilter, *, limit: int, before: UUID | None
) -> tuple[Sequence[QueuedTaskRecord], int | None, float]:
    if condition.statuses == (TaskStatus.RUNNING,):
        known, age = await numbers.running()
        if len(known) < KNOWN:
            return await _running(service, condition, known, age=age, limit=limit, before=before), None, age
    newest = None if await _looks_at_all(numbers, condition) else SEARCHED
    return await service.find(replace(condition, newest=newest), limit=limit, before=before), newest, 0.0


async def _running(
    service: QueueService,
    condition: RecordFilter,
    known: Sequence[QueuedTaskRecord],
    *,
    age: float,
    limit: int,
    before: UUID | None,
) -> Sequence[QueuedTaskRecord]:
    """Find running records among those that ran a moment ago and the newest ones; PostgreSQL has no index of them."""
    found = [record for record in known if condition.matches(record) and (before is None or record.id < before)]
    if age:
        current = await service.queue_backend.get_many([record.id for record in found])
        started = await service.find(replace(condition, newest=STARTED), limit=limit, before=before)
        each = {record.id: record for record in (*current, *started) if condition.matches(record)}
        found = sorted(each.values(), key=lambda record: record.id, reverse=True)
    return found[:limit]


async def _looks_at_all(numbers: Numbers, condition: RecordFilter) -> bool:
    if condition == RecordFilter() or condition.key is not None:
        return True
    if condition.statuses is None or not FEW.issuperset(condition.statuses) or condition.searches_text:
        return False
    # Many may wait, and nothing but the queue and the schedule of these is in an index.
    by_index = RecordFilter(statuses=condition.statuses, queues=condition.queues, schedule=condition.schedule)
    is_many = TaskStatus.PENDING in condition.statuses and condition != by_index
    return not is_many or (await numbers.statistics()).total(TaskStatus.PENDING) <= SEARCHED


async def _are_more_than(numbers: Numbers, number: int) -> bool:
    return sum(sum(counts.values()) for counts in (await numbers.statistics()).counts.values()) > number


def _given(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return tuple(value for value in values or () if value) or None


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
