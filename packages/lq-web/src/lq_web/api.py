"""The HTTP API: what the pages show, and what they do, as JSON."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, ClassVar
from uuid import UUID

from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED

from lq_core import (
    Finding,
    Limits,
    QueuedTaskRecord,
    QueueService,
    RecordFilter,
    RecordNotFoundError,
    RecordView,
    WorkerInfo,
    known_tasks,
)
from lq_core.queue import Action
from lq_web import bulk, examples
from lq_web.actions import act, signal
from lq_web.conditional import version_of
from lq_web.config import Role, WebConfig
from lq_web.examples import CallBody, ManyRecordsBody, NewLimitsBody, NewSignalBody, answers
from lq_web.history import History, Minutes, history
from lq_web.messages import Changed, TaskView, Version
from lq_web.neighbours import Neighbours, neighbours
from lq_web.overview import Overview, overview
from lq_web.recent import Numbers
from lq_web.safety import note_action
from lq_web.searching import Limit, check_role, page_of
from lq_web.views import Page, QueueView, ScheduleView, queues_of, schedule_of

AnyRequest = Request[Any, Any, Any]


async def existing(service: QueueService, record_id: UUID) -> QueuedTaskRecord:
    """Read one record. Raises RecordNotFoundError."""
    record = await service.get(record_id)
    if record is None:
        raise RecordNotFoundError(record_id)
    return record


async def record_view(service: QueueService, config: WebConfig, request: AnyRequest, record_id: UUID) -> RecordView:
    """Read one record as this user may see it. Raises RecordNotFoundError."""
    record = await existing(service, record_id)
    return RecordView.of(config.redact(record), tracebacks=config.role(request) is Role.OPERATE)


async def schedule_views(service: QueueService, *, times: int = 3) -> list[ScheduleView]:
    """Show all schedules with their next due times."""
    now = service.queue_backend.now()
    return [
        schedule_of(state, [] if state.paused or state.retired else list(islice(state.plan.after(now), times)))
        for state in await service.schedules()
    ]


class Api(Controller):
    """Every route of the API."""

    path = "/api"
    tags: ClassVar[list[str]] = ["queues"]  # pyright: ignore[reportIncompatibleVariableOverride] -- Litestar declares an instance variable

    @get("/overview", summary="The state of the queue in one view", responses=answers(Overview, examples.OVERVIEW))
    async def overview(
        self,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
        lq_numbers: NamedDependency[Numbers],
    ) -> Overview:
        return await overview(lq_service, lq_web, lq_numbers)

    @get(
        "/version",
        summary="The version, which changes when anything changes",
        responses=answers(Version, examples.VERSION),
    )
    async def version(self, lq_service: NamedDependency[QueueService]) -> Version:
        return Version(version=await version_of(lq_service))

    @get(
        "/history",
        summary="How many records ended in each minute of the last hours",
        responses=answers(History, examples.HISTORY),
    )
    async def history(
        self,
        lq_service: NamedDependency[QueueService],
        minutes: FromQuery[Minutes] = 60,
        queue: FromQuery[str | None] = None,
    ) -> History:
        return await history(lq_service, minutes=minutes, queue=queue or None)

    @get(
        "/actions",
        summary="The changes that people have made, newest first",
        responses=answers(Sequence[Action], examples.ACTIONS),
    )
    async def actions(
        self, lq_service: NamedDependency[QueueService], limit: FromQuery[Limit] = 50
    ) -> Sequence[Action]:
        return await lq_service.actions(limit=limit)

    @get("/records", summary="Find records, newest first", responses=answers(Page, examples.PAGE))
    async def records(
        self,
        request: AnyRequest,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
        *,
        lq_numbers: NamedDependency[Numbers],
        condition: NamedDependency[RecordFilter],
        before: FromQuery[UUID | None] = None,
        limit: FromQuery[Limit] = 50,
    ) -> Page:
        check_role(lq_web, request, condition)
        return await page_of(lq_service, lq_web, lq_numbers, condition, limit=limit, before=before)

    @get(
        "/records/{record_id:uuid}",
        summary="Everything about one record",
        responses=answers(RecordView, examples.RECORD, refusals=(404,)),
    )
    async def record(
        self,
        request: AnyRequest,
        record_id: FromPath[UUID],
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> RecordView:
        return await record_view(lq_service, lq_web, request, record_id)

    @get(
        "/records/{record_id:uuid}/neighbours",
        summary="The records before and after a record",
        responses=answers(Neighbours, examples.NEIGHBOURS, refusals=(404,)),
    )
    async def neighbours(
        self,
        record_id: FromPath[UUID],
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> Neighbours:
        return await neighbours(lq_service, lq_web, await existing(lq_service, record_id))

    @post(
        "/records/{record_id:uuid}/{action:str}",
        status_code=HTTP_200_OK,
        summary="Retry or cancel a record",
        responses=answers(RecordView, examples.RECORD, refusals=(404, 409)),
    )
    async def change_record(
        self,
        request: AnyRequest,
        record_id: FromPath[UUID],
        action: FromPath[str],
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> RecordView:
        await act(lq_service, lq_web, request, action, kind="record", subject=record_id)
        return await record_view(lq_service, lq_web, request, record_id)

    @post(
        "/records/{record_id:uuid}/signals",
        status_code=HTTP_200_OK,
        summary="Send a signal to a record",
        responses=answers(RecordView, examples.RECORD, refusals=(404, 409)),
    )
    async def signal(
        self,
        request: AnyRequest,
        record_id: FromPath[UUID],
        data: NewSignalBody,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> RecordView:
        await signal(lq_service, lq_web, request, record_id, data)
        return await record_view(lq_service, lq_web, request, record_id)

    @post(
        "/records/preview",
        status_code=HTTP_200_OK,
        summary="Count the records that an action would change",
        responses=answers(bulk.Preview, examples.PREVIEW),
    )
    async def preview(self, data: ManyRecordsBody, lq_service: NamedDependency[QueueService]) -> bulk.Preview:
        return await bulk.preview(lq_service, data.selection(lq_service.queue_backend.now()))

    @post(
        "/records/act",
        status_code=HTTP_200_OK,
        summary="Change the records of a preview",
        responses=answers(Changed, examples.CHANGED),
    )
    async def change_many(
        self,
        request: AnyRequest,
        data: ManyRecordsBody,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> Changed:
        changed = await bulk.act(lq_service, data.selection(lq_service.queue_backend.now()))
        await note_action(lq_service, lq_web, request, f"{data.action} many", f"{changed} records", changed=changed)
        return Changed(changed=changed)

    @get(
        "/queues",
        summary="The queues, those with the most waiting records first",
        description="With very many records, the counts are some seconds old; see `counted` of the overview.",
        responses=answers(list[QueueView], examples.QUEUES),
    )
    async def queues(
        self, lq_service: NamedDependency[QueueService], lq_numbers: NamedDependency[Numbers]
    ) -> list[QueueView]:
        return queues_of(await lq_numbers.statistics(), await lq_service.queues())

    @post(
        "/queues/{name:str}/{action:str}",
        status_code=HTTP_200_OK,
        summary="Pause or resume a queue",
        responses=answers(list[QueueView], examples.QUEUES),
    )
    async def change_queue(
        self,
        request: AnyRequest,
        name: FromPath[str],
        action: FromPath[str],
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
        *,
        lq_numbers: NamedDependency[Numbers],
    ) -> list[QueueView]:
        await act(lq_service, lq_web, request, action, kind="queue", subject=name)
        return queues_of(await lq_numbers.statistics(), await lq_service.queues())

    @post(
        "/queues/{name:str}/limits",
        status_code=HTTP_200_OK,
        summary="Limit a queue",
        responses=answers(Limits, examples.LIMITS),
    )
    async def limit_queue(
        self,
        request: AnyRequest,
        name: FromPath[str],
        data: NewLimitsBody,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> Limits:
        await lq_service.limit_queue(name, concurrency=data.concurrency, rate=data.rate)
        await note_action(lq_service, lq_web, request, "limit queue", name)
        return Limits(concurrency=data.concurrency, rate=data.rate)

    @get(
        "/schedules",
        summary="The schedules with their next due times",
        responses=answers(list[ScheduleView], examples.SCHEDULES),
    )
    async def schedules(self, lq_service: NamedDependency[QueueService]) -> list[ScheduleView]:
        return await schedule_views(lq_service)

    @post(
        "/schedules/{name:str}/{action:str}",
        status_code=HTTP_200_OK,
        summary="Pause, resume or run a schedule",
        responses=answers(list[ScheduleView], examples.SCHEDULES, refusals=(404,)),
    )
    async def change_schedule(
        self,
        request: AnyRequest,
        name: FromPath[str],
        action: FromPath[str],
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> list[ScheduleView]:
        await act(lq_service, lq_web, request, action, kind="schedule", subject=name)
        return await schedule_views(lq_service)

    @get("/workers", summary="The registered workers", responses=answers(Sequence[WorkerInfo], examples.WORKERS))
    async def workers(self, lq_service: NamedDependency[QueueService]) -> Sequence[WorkerInfo]:
        return await lq_service.workers()

    @get(
        "/findings",
        summary="What `lq doctor` finds in the store",
        description="With very many records, the checks have run some seconds ago.",
        responses=answers(Sequence[Finding], examples.FINDINGS),
    )
    async def findings(self, lq_numbers: NamedDependency[Numbers]) -> Sequence[Finding]:
        return await lq_numbers.findings()

    @get("/tasks", summary="The tasks that this process knows", responses=answers(list[TaskView], examples.TASKS))
    async def tasks(self) -> list[TaskView]:
        return [
            TaskView(
                name=name,
                signature=str(task.codec.signature),
                arguments=task.codec.schema(),
                queue=task.options.queue,
                retries=task.options.retries,
                timeout=task.options.timeout,
            )
            for name, task in known_tasks().items()
        ]

    @post(
        "/tasks/{name:str}",
        status_code=HTTP_201_CREATED,
        summary="Enqueue a call of a task",
        responses=answers(RecordView, examples.RECORD, HTTP_201_CREATED, refusals=(404, 409)),
    )
    async def enqueue(
        self,
        request: AnyRequest,
        name: FromPath[str],
        data: CallBody,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> RecordView:
        sent = await lq_service.enqueue_by_name(name, **data.arguments)
        await note_action(lq_service, lq_web, request, "enqueue", str(sent.id), task=name)
        return await record_view(lq_service, lq_web, request, sent.id)
