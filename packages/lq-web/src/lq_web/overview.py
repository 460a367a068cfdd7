"""The first screen: one sentence that says whether the queue is well, and the facts that support it."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from lq_core import Finding, QueueService, RecordFilter, TaskStatus
from lq_core.records.record import QueuedTaskRecord
from lq_web.config import WebConfig
from lq_web.recent import Numbers
from lq_web.views import QueueView, queues_of

SAMPLE: Final = 500
"""How many of the newest failed records are looked at."""

RECENT: Final = timedelta(hours=1)


class FailureGroup(Struct, frozen=True, kw_only=True):
    """Failed records of the last hour with the same task and type of error."""

    task: str
    error: str
    """The type of the error."""

    message: str
    """The message of the newest one."""

    count: int
    last_at: datetime
    newest: UUID


class Overview(Struct, frozen=True, kw_only=True):
    """The state of the queue in one view."""

    healthy: bool
    headline: str
    """One sentence: that all is well, or what is wrong."""

    advice: str | None
    """What to do about it."""

    oldest_ready: float | None
    """For how many seconds the oldest ready record has waited; None if none waits."""

    pending: int
    running: int
    failed_in_the_last_hour: int
    failures_are_more: bool
    """Whether there were more failures than were looked at."""

    workers_alive: int
    slots: int
    """How many records all workers together can run at once."""

    failures: Sequence[FailureGroup]
    """The largest group first."""

    queues: Sequence[QueueView]
    findings: Sequence[Finding]
    counted: float
    """How many seconds ago the records were counted; with very many records, that is done in the background."""

    at: datetime


async def overview(service: QueueService, config: WebConfig, numbers: Numbers) -> Overview:
    """Look at the queue as a whole."""
    now = service.queue_backend.now()
    statistics = await numbers.statistics()
    workers, states, findings, failed = await asyncio.gather(
        service.workers(),
        service.queues(),
        numbers.findings(),
        service.find(RecordFilter(statuses=(TaskStatus.FAILED,)), limit=SAMPLE),
    )
    recent = [record for record in failed if record.finished_at and record.finished_at > now - RECENT]
    groups = _groups([config.redact(record) for record in recent])
    timeout = timedelta(seconds=service.config.heartbeat_timeout)
    alive = [one for one in workers if one.execution_backends and one.seen_at > now - timeout]
    headline, advice = _headline(findings, groups)
    waited = (now - statistics.oldest_due).total_seconds() if statistics.oldest_due else None
    return Overview(
        healthy=advice is None,
        headline=headline,
        advice=advice,
        oldest_ready=None if waited is None else max(0.0, waited),
        pending=statistics.total(TaskStatus.PENDING),
        running=statistics.total(TaskStatus.RUNNING) + statistics.total(TaskStatus.DISPATCHED),
        failed_in_the_last_hour=len(recent),
        failures_are_more=len(recent) == SAMPLE,
        workers_alive=len(alive),
        slots=sum(one.concurrency for one in alive),
        failures=groups,
        queues=queues_of(statistics, states),
        findings=findings,
        counted=statistics.age,
        at=now,
    )


def _headline(findings: Sequence[Finding], groups: Sequence[FailureGroup]) -> tuple[str, str | None]:
    """Say the worst in one sentence, and what to do about it; no advice means that all is well."""
    warning = next((finding for finding in findings if finding.level == "warning"), None)
    if warning is not None:
        return _sentence(warning), warning.advice
    if groups:
        worst, total = groups[0], sum(group.count for group in groups)
        records = "record has" if total == 1 else "records have"
        return (
            f"{total:,} {records} failed in the last hour",
            f"Most are {worst.error} in {worst.task}. Look at one, correct the cause, then retry the group.",
        )
    return "All is well", None


def _sentence(finding: Finding) -> str:
    """Say a finding as one sentence; the list of checks has the details."""
    found = finding.found.partition("; ")[0]
    return f"The {finding.check} {found}" if found.startswith("has ") else f"{finding.check.capitalize()}: {found}"


def _groups(failed: Sequence[QueuedTaskRecord]) -> list[FailureGroup]:
    groups: dict[tuple[str, str], list[QueuedTaskRecord]] = {}
    for record in failed:
        groups.setdefault((record.task_name, record.error.type if record.error else "unknown"), []).append(record)
    made = [
        FailureGroup(
            task=task,
            error=error,
            message=(newest.error.message if newest.error else "").partition("\n")[0][:200],
            count=len(records),
            last_at=newest.finished_at or newest.created_at,
            newest=newest.id,
        )
        for (task, error), records in groups.items()
        for newest in (max(records, key=lambda record: record.finished_at or record.created_at),)
    ]
    return sorted(made, key=lambda group: (-group.count, group.task, group.error))
