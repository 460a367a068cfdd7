"""The examples of the API in OpenAPI: one small story, made of the values that the API itself answers."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar.enums import RequestEncodingType
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import Body
from litestar.status_codes import HTTP_200_OK

from lq_core import Finding, Limits, QueuedTaskRecord, RateLimit, RecordSummary, RecordView, TaskStatus, WorkerInfo
from lq_core.queue import Action
from lq_web import bulk
from lq_web.history import History, Point
from lq_web.messages import Call, Changed, ManyRecords, NewLimits, NewSignal, Problem, TaskView, Version
from lq_web.neighbours import Neighbours
from lq_web.overview import FailureGroup, Overview
from lq_web.views import Page, QueueView, ScheduleView


def _example(value: object) -> Example:
    return Example(value=msgspec.to_builtins(value))


NOON: Final = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)

_STORED: Final = QueuedTaskRecord(
    id=UUID("019f1d80-9e00-7000-8000-000000000001"),
    task_name="mail.welcome",
    queue="mail",
    arguments='{"name":"Ada"}',
    result='"Welcome, Ada!"',
    status=TaskStatus.COMPLETED,
    created_at=NOON,
    scheduled_at=NOON,
    started_at=NOON + timedelta(seconds=0.2),
    finished_at=NOON + timedelta(seconds=0.9),
    attempt=1,
    epoch=2,
    worker_id="web-1-019f1d80",
    retries=3,
    metadata={"tenant": "acme"},
)
RECORD: Final = RecordView.of(_STORED)
PAGE: Final = Page(records=[RecordSummary.of(_STORED)], next=None)
NEIGHBOURS: Final = Neighbours(
    predecessors=[], more_predecessors=0, successors=[RecordSummary.of(_STORED)], more_successors=0
)
PREVIEW: Final = bulk.Preview(count=42, as_of=NOON, is_limited=False)
VERSION: Final = Version(version="7d0ad1f2-42")
CHANGED: Final = Changed(changed=42)
LIMITS: Final = Limits(concurrency=5, rate=RateLimit(count=100, per=60.0))
QUEUES: Final = [
    QueueView(
        name="mail",
        counts={TaskStatus.PENDING: 3, TaskStatus.FAILED: 42, TaskStatus.COMPLETED: 12_000},
        paused=False,
        draining=False,
        limits=LIMITS,
    )
]
SCHEDULES: Final = [
    ScheduleView(
        name="morning mail",
        plan="0 7 * * 1-5 (Europe/Berlin)",
        paused=False,
        retired=False,
        task="mail.digest",
        next=[NOON + timedelta(hours=17)],
        last_due=NOON - timedelta(hours=7),
    )
]
WORKERS: Final = [
    WorkerInfo(
        id="web-1-019f1d80",
        execution_backends=("immediate", "local"),
        concurrency=10,
        started_at=NOON - timedelta(hours=2),
        seen_at=NOON,
    )
]
FINDINGS: Final = [
    Finding.of("oldest ready record", "has waited 12 s"),
    Finding.of("worker", "web-2 has sent no heartbeat for 90 s", advice="Look at its log."),
]
ACTIONS: Final = [Action(NOON, "ada", "retry record", str(RECORD.id))]
HISTORY: Final = History(
    step=1,
    queue="mail",
    points=[Point(at=NOON, completed=118, failed=2, wait_p50=0.1, wait_p95=1.2, run_p50=0.7, run_p95=2.5)],
    waits=1.2,
)
OVERVIEW: Final = Overview(
    healthy=False,
    headline="42 records have failed in the last hour",
    advice="Most are ConnectionError in mail.welcome. Look at one, correct the cause, then retry the group.",
    oldest_ready=12.0,
    pending=3,
    running=1,
    failed_in_the_last_hour=42,
    failures_are_more=False,
    workers_alive=1,
    slots=10,
    failures=[
        FailureGroup(
            task="mail.welcome",
            error="ConnectionError",
            message="The mail server refuses connections.",
            count=42,
            last_at=NOON,
            newest=RECORD.id,
        )
    ],
    queues=QUEUES,
    findings=FINDINGS,
    counted=0.0,
    at=NOON,
)
TASKS: Final = [
    TaskView(
        name="mail.welcome",
        signature="(name: str) -> str",
        arguments={
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
            "additionalProperties": False,
        },
        queue="mail",
        retries=3,
        timeout=30.0,
    )
]


PROBLEMS: Final = {
    status: ResponseSpec(
        data_container=Problem,
        description=HTTPStatus(status).phrase,
        generate_examples=False,
        examples=[_example(Problem(title=HTTPStatus(status).phrase, status=status, detail=detail))],
        media_type="application/problem+json",
    )
    for status, detail in (
        (400, "There is no status 'done'; use one of: pending, dispatched, running, completed, failed."),
        (403, "Your role may look, but not change anything."),
        (404, "There is no record 019f1d80-9e00-7000-8000-000000000001."),
        (409, "A record that has completed cannot be retried."),
        (503, "The queue is not available."),
    )
}
"""The refusals of the API by status."""


def answers(
    kind: Any, value: object, status: int = HTTP_200_OK, *, refusals: tuple[int, ...] = ()
) -> Mapping[int, ResponseSpec]:
    """Describe the answer of a route by its type and an example, and its *refusals* besides the usual ones."""
    done = ResponseSpec(data_container=kind, description="Done.", generate_examples=False, examples=[_example(value)])
    return {status: done, **{code: PROBLEMS[code] for code in (400, 403, 503, *refusals)}}


def _body(value: object) -> Any:
    return Body(media_type=RequestEncodingType.JSON, examples=[_example(value)])


CallBody = Annotated[Call, _body(Call(arguments={"name": "Ada"}))]
NewLimitsBody = Annotated[NewLimits, _body(NewLimits(concurrency=5, rate=RateLimit(count=100, per=60.0)))]
NewSignalBody = Annotated[NewSignal, _body(NewSignal(name="decision", value=True))]
ManyRecordsBody = Annotated[
    ManyRecords,
    _body(
        ManyRecords(
            action="retry",
            statuses=(TaskStatus.FAILED,),
            tasks=("mail.welcome",),
            error="ConnectionError",
            as_of=NOON,
        )
    ),
]
