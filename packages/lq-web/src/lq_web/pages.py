"""The pages of the dashboard. They work without JavaScript; with it, they keep themselves up to date."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, cast
from urllib.parse import urlencode
from uuid import UUID

from litestar import Controller, MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.exceptions import ValidationException
from litestar.params import Body, FromPath, FromQuery
from litestar.response import Redirect

from lq_core import QueueService, RecordFilter, RecordSummary, TaskStatus
from lq_core.queue.messages import QueueState
from lq_core.tasks.signals import value_of
from lq_web import bulk
from lq_web.actions import act, signal
from lq_web.api import AnyRequest, existing, record_view, schedule_views
from lq_web.config import Role, WebConfig
from lq_web.history import LONGEST, Minutes, history
from lq_web.messages import NewSignal
from lq_web.neighbours import neighbours
from lq_web.overview import overview
from lq_web.recent import Numbers
from lq_web.rendering import render
from lq_web.safety import note_action
from lq_web.searching import PAGE_LIMIT, check_role, page_of, query_of
from lq_web.views import queues_of

ROWS = 50
"""How many records a page lists."""

ACTIONS = 10
"""How many changes the first page lists."""

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


class Pages(Controller):
    """Every page."""

    path = "/"
    include_in_schema = False
    opt: ClassVar[dict[str, Any]] = {"exclude_from_csrf": True}  # pyright: ignore[reportIncompatibleVariableOverride] -- as in Api

    @get("/")
    async def home(
        self,
        request: AnyRequest,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
        lq_numbers: NamedDependency[Numbers],
    ) -> Response[str]:
        state, last_hour, actions = await asyncio.gather(
            overview(lq_service, lq_web, lq_numbers), history(lq_service), lq_service.actions(limit=ACTIONS)
        )
        return _page(request, lq_web, "home.html", state=state, history=last_hour, actions=actions)

    @get("/history")
    async def history(
        self,
        request: AnyRequest,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
        *,
        lq_numbers: NamedDependency[Numbers],
        minutes: FromQuery[Minutes] = 60,
        queue: FromQuery[str | None] = None,
    ) -> Response[str]:
        return _page(
            request,
            lq_web,
            "history.html",
            history=await history(lq_service, minutes=minutes, queue=queue or None),
            minutes=minutes,
            spans=((60, "one hour"), (6 * 60, "six hours"), (24 * 60, "one day"), (LONGEST, "two days")),
            queues=sorted((await lq_numbers.statistics()).counts),
        )

    @get("/records")
    async def records(
        self,
        request: AnyRequest,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
        *,
        lq_numbers: NamedDependency[Numbers],
        condition: NamedDependency[RecordFilter],
        before: FromQuery[UUID | None] = None,
    ) -> Response[str]:
        check_role(lq_web, request, condition)
        page = await page_of(lq_service, lq_web, lq_numbers, condition, limit=ROWS, before=before)
        chosen = query_of(condition)
        given = {name: value for name, value in chosen.items() if value}
        following = urlencode({**given, "before": str(page.next)}, doseq=True) if page.next else None
        return _page(
            request,
            lq_web,
            "records.html",
            page=page,
            chosen=chosen,
            statuses=list(TaskStatus),
            newest=urlencode(given, doseq=True),
            following=following,
            is_first=before is None,
            now=lq_service.queue_backend.now(),
        )

    @get("/records/{record_id:uuid}")
    async def record(
        self,
        request: AnyRequest,
        record_id: FromPath[UUID],
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> Response[str]:
        record = await record_view(lq_service, lq_web, request, record_id)
        around = await neighbours(lq_service, lq_web, await existing(lq_service, record_id))
        return _page(request, lq_web, "record.html", record=record, neighbours=around)

    @post("/records/{record_id:uuid}/{action:str}")
    async def change_record(
        self,
        request: AnyRequest,
        record_id: FromPath[UUID],
        action: FromPath[str],
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> Redirect:
        await act(lq_service, lq_web, request, action, kind="record", subject=record_id)
        return _to(request, lq_web, f"/records/{record_id}")

    @post("/records/{record_id:uuid}/signals")
    async def signal(
        self,
        request: AnyRequest,
        record_id: FromPath[UUID],
        data: Form,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> Redirect:
        """Send the signal of the form, whose value is JSON."""
        text = data.get("value", "").strip() or "null"
        try:
            value = value_of(text)
        except ValueError as error:
            raise ValidationException(str(error)) from error
        await signal(lq_service, lq_web, request, record_id, NewSignal(name=data.get("name", ""), value=value))
        return _to(request, lq_web, f"/records/{record_id}")

    @get("/failures")
    async def failures(
        self,
        request: AnyRequest,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
        task: FromQuery[str],
        error: FromQuery[str],
    ) -> Response[str]:
        """Count the records of a group of failures, and ask before retrying them."""
        selection = _failures(task, error, lq_service.queue_backend.now())
        counted = await bulk.preview(lq_service, selection)
        return _page(request, lq_web, "failures.html", counted=counted, task=task, error=error)

    @post("/failures")
    async def retry_failures(
        self,
        request: AnyRequest,
        data: Form,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> Redirect:
        try:
            selection = _failures(data["task"], data["error"], datetime.fromisoformat(data["as_of"]))
        except (KeyError, ValueError) as error:
            raise ValidationException("The form has no task, no error or no moment. Open the page again.") from error
        changed = await bulk.act(lq_service, selection)
        subject = f"{changed} of {data['task']} with {selection.error}"
        await note_action(lq_service, lq_web, request, "retry many", subject, changed=changed)
        return _to(request, lq_web, f"/records?{urlencode({'task': data['task']})}")

    @get("/queues")
    async def queues(
        self,
        request: AnyRequest,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
        lq_numbers: NamedDependency[Numbers],
    ) -> Response[str]:
        statistics = await lq_numbers.statistics()
        views = queues_of(statistics, await lq_service.queues())
        return _page(request, lq_web, "queues.html", queues=views, can_limit=True, counted=statistics.age)

    @post("/queues/{name:str}/{action:str}")
    async def change_queue(
        self,
        request: AnyRequest,
        name: FromPath[str],
        action: FromPath[str],
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> Redirect:
        await act(lq_service, lq_web, request, action, kind="queue", subject=name)
        return _to(request, lq_web, "/queues")

    @post("/queues/{name:str}/limits")
    async def limit_queue(
        self,
        request: AnyRequest,
        name: FromPath[str],
        data: Form,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> Redirect:
        """Set how many records of a queue run at once; its rate stays."""
        text = data.get("concurrency", "").strip()
        if text and not text.isdecimal():
            raise ValidationException(
                f"{text!r} is not a number of records; give a whole number, or leave it empty for no limit."
            )
        state = (await lq_service.queues()).get(name, QueueState())
        rate = state.limits.rate if state.limits else None
        await lq_service.limit_queue(name, concurrency=int(text) if text else None, rate=rate)
        await note_action(lq_service, lq_web, request, "limit queue", name, concurrency=text or None)
        return _to(request, lq_web, "/queues")

    @get("/schedules")
    async def schedules(
        self, request: AnyRequest, lq_service: NamedDependency[QueueService], lq_web: NamedDependency[WebConfig]
    ) -> Response[str]:
        views = await schedule_views(lq_service)
        return _page(request, lq_web, "schedules.html", schedules=views, now=lq_service.queue_backend.now())

    @post("/schedules/{name:str}/{action:str}")
    async def change_schedule(
        self,
        request: AnyRequest,
        name: FromPath[str],
        action: FromPath[str],
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
    ) -> Redirect:
        await act(lq_service, lq_web, request, action, kind="schedule", subject=name)
        return _to(request, lq_web, f"/records?{urlencode({'schedule': name})}" if action == "run" else "/schedules")

    @get("/workers")
    async def workers(
        self,
        request: AnyRequest,
        lq_service: NamedDependency[QueueService],
        lq_web: NamedDependency[WebConfig],
        lq_numbers: NamedDependency[Numbers],
    ) -> Response[str]:
        found, age = await lq_numbers.running()
        return _page(
            request,
            lq_web,
            "workers.html",
            workers=await lq_service.workers(),
            running=[RecordSummary.of(lq_web.redact(record)) for record in found[:PAGE_LIMIT]],
            age=age,
            now=lq_service.queue_backend.now(),
            timeout=lq_service.config.heartbeat_timeout,
        )


def base_of(request: AnyRequest, config: WebConfig) -> str:
    """Return the address of the dashboard without a slash at its end, also below a mount or a proxy's prefix."""
    return str(cast("Mapping[str, object]", request.scope).get("root_path", "")).rstrip("/") + config.path.rstrip("/")


def _page(request: AnyRequest, config: WebConfig, template: str, **values: object) -> Response[str]:
    can_operate = config.role(request) is Role.OPERATE
    base = base_of(request, config)
    here = request.scope["path"].removeprefix(base).strip("/").partition("/")[0]
    text = render(template, base=base, title=config.title, can_operate=can_operate, here=here, **values)
    return Response(text, media_type=MediaType.HTML)


def _to(request: AnyRequest, config: WebConfig, path: str) -> Redirect:
    return Redirect(f"{base_of(request, config)}{path}", status_code=303)


def _failures(task: str, error: str, as_of: datetime) -> bulk.Selection:
    condition = RecordFilter(statuses=(TaskStatus.FAILED,), task_names=(task,))
    return bulk.Selection(action="retry", condition=condition, error=error, as_of=as_of)
