"""
Starts executions that drain: while records are due, as many containers as there is work and room for.

Records are not reserved: containers claim them. What runs already is known by name, and before anything is started
also by the list of the job, so that other dispatchers, and calls whose replies were lost, count as well.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import json

from lq_cloudrun.asking import run_job
from lq_cloudrun.clients import JobsClient
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.drain_order import DrainOrder, same_queues
from lq_cloudrun.executions import Executions
from lq_cloudrun.living import living_workers
from lq_cloudrun.pacing import Lane
from lq_cloudrun.refusal import Refusal, refusal_of
from lq_cloudrun.request import run_drain_request
from lq_cloudrun.status import containers_left, status_of
from lq_cloudrun.target import Target
from lq_core.event_log import event_log
from lq_core.execution import ExecutionService
from lq_core.queue import Claim, RecordFilter
from lq_core.record import QueuedTaskRecord, TaskStatus

log = event_log("lq.cloudrun")

PAGE: Final = 100
MOST_PAGES: Final = 50
"""How many pages of waiting records are read at most to count those that are due."""

SAMPLE: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Draining:
    """One execution that drains, as far as it is known here."""

    containers: int
    """How many of its containers are not over."""

    started_at: float
    since: datetime
    """The same by the clock of the queue."""

    sample: tuple[tuple[UUID, int], ...] = ()
    """Records that were due when it was started here, by id and epoch, until it is seen at work."""


class DrainDispatcher:
    """Starts executions of one job."""

    def __init__(
        self,
        config: CloudRunExecutionConfig,
        *,
        name: str,
        target: Target,
        client: Callable[[], Awaitable[JobsClient]],
        executions: Executions,
        lane: Callable[[str], Lane],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._name = name
        self._target = target
        self._client = client
        self._executions = executions
        self._lane = lane(target.job)
        self._clock = clock
        self._draining: dict[str, Draining] = {}
        self._next_look = float("-inf")
        self._refused_until = float("-inf")

    @property
    def is_refused(self) -> bool:
        """Whether the job cannot be run at all, so that its records are turned away one by one."""
        return self._clock() < self._refused_until

    async def look(self, service: ExecutionService) -> None:
        """Start an execution if records are due that those which run already leave room for."""
        now = self._clock()
        if now < self._next_look or not await self._is_due(service):
            return
        self._next_look = now + self._config.poll_interval
        await self._update(service)
        self._count()
        if self._lane.room(now) < 1:
            return
        due = await self._due(service)
        work = max(len(due), 1) + await self._running(service)
        if self._wanted(work) < 1:
            return
        for name, containers in (await self._executions.draining(self._target.job, service.config.queues)).items():
            since = service.queue_backend.now()
            self._draining.setdefault(name, Draining(containers=containers, started_at=now, since=since))
        self._count()
        wanted = self._wanted(work)
        if wanted > 0:
            await self._start(service, min(wanted, self._config.drain_tasks), due[-SAMPLE:])

    def _wanted(self, records: int) -> int:
        """How many more containers there is work and room for; those that are about to end take nothing any more."""
        young = self._clock() - self._config.drain_time
        taking = sum(each.containers for each in self._draining.values() if each.started_at > young)
        wanted = math.ceil(records / self._config.drain_concurrency)
        return min(wanted - taking, self._config.max_in_flight - self._lane.in_flight)

    async def _start(self, service: ExecutionService, containers: int, due: list[QueuedTaskRecord]) -> None:
        config, now, since = self._config, self._clock(), service.queue_backend.now()
        order = DrainOrder(
            job=self._target.job,
            queues=service.config.queues,
            execution_backend=self._name,
            concurrency=config.drain_concurrency,
            drain_time=config.drain_time,
            timeout=config.timeout,
            max_interruptions=config.max_interruptions,
        )
        request = run_drain_request(self._target, config, order=json.encode(order).decode(), containers=containers)
        self._lane.take(now)
        try:
            execution = await run_job(await self._client(), request, timeout=config.rpc_timeout)
        except Exception as error:  # noqa: BLE001 -- whatever it was, what became of the call decides, not its class
            self._after(error)
            return
        sample = tuple((record.id, record.epoch) for record in due)
        self._draining[execution.name] = Draining(containers=containers, started_at=now, since=since, sample=sample)
        log.info("cloudrun.drain_started", extra={"execution": execution.name, "containers": containers})

    def _after(self, error: Exception) -> None:
        refusal, now = refusal_of(error), self._clock()
        facts = {"job": self._target.job, "error": f"{type(error).__name__}: {error}", "refusal": refusal.value}
        log.warning("cloudrun.run_job_failed", extra=facts)
        match refusal:
            case Refusal.UNKNOWN:
                # It may have been started: the list shows it, but not at once.
                self._next_look = now + self._config.confirm_after
            case Refusal.TOO_FAST:
                self._lane.slow_down(now)
            case Refusal.MISCONFIGURED if self._config.fallback_execution_backend:
                self._next_look = self._refused_until = now + self._config.breaker_pause
            case Refusal.MISCONFIGURED | Refusal.REFUSED:
                self._lane.close(now)

    async def _update(self, service: ExecutionService) -> None:
        """Ask how far those that are known here have come, and forget those that are over."""
        queues = service.config.queues
        workers = [each for each in await living_workers(service) if same_queues(each.queues, queues)]
        at_work = [each.started_at for each in workers if not each.execution_backends]
        for name, draining in list(self._draining.items()):
            execution = await self._executions.get(name)
            if execution is not None and not status_of(execution).ended:
                sample = () if any(begun >= draining.since for begun in at_work) else draining.sample
                self._draining[name] = replace(draining, containers=containers_left(execution), sample=sample)
                continue
            del self._draining[name]
            if execution is None or not await self._has_done_nothing(service, draining):
                self._lane.accepted()
                continue
            pause = self._lane.close(self._clock())
            # It has left before its time, and what was due is still there: it cannot work, or looks elsewhere.
            facts = {"execution": name, "ended": status_of(execution).summary, "pause": pause}
            log.warning("cloudrun.drained_nothing", extra=facts)

    async def _has_done_nothing(self, service: ExecutionService, draining: Draining) -> bool:
        if not draining.sample or self._clock() - draining.started_at >= self._config.drain_time:
            return False
        records = await service.queue_backend.get_many([record_id for record_id, _ in draining.sample])
        return {(record.id, record.epoch) for record in records} == set(draining.sample)

    async def _is_due(self, service: ExecutionService) -> bool:
        queue = service.queue_backend
        claim = Claim(
            worker_id="",
            limit=1,
            execution_backends=(self._name,),
            queues=service.config.queues,
        )
        due = await queue.next_due(claim)
        return due is not None and due <= queue.now()

    async def _running(self, service: ExecutionService) -> int:
        """Count the records that containers have in hand, so that one that is busy is not waited for."""
        condition = RecordFilter(
            statuses=(TaskStatus.RUNNING,),
            execution_backends=(self._name,),
            queues=service.config.queues,
        )
        most = self._config.max_in_flight * self._config.drain_concurrency
        return len(await service.queue_backend.find(condition, limit=most))

    async def _due(self, service: ExecutionService) -> list[QueuedTaskRecord]:
        """Read records that may be claimed now, newest first, until there is work for every container that may run."""
        queue = service.queue_backend
        condition = RecordFilter(
            statuses=(TaskStatus.PENDING,),
            execution_backends=(self._name,),
            queues=service.config.queues,
        )
        paused = {name for name, state in (await queue.queues()).items() if state.paused}
        now, due, before = queue.now(), list[QueuedTaskRecord](), None
        for _ in range(MOST_PAGES):
            page = await queue.find(condition, limit=PAGE, before=before)
            due += [
                record
                for record in page
                if record.scheduled_at <= now and record.queue not in paused and not record.cancel_requested
            ]
            if len(page) < PAGE or len(due) >= self._config.max_in_flight * self._config.drain_concurrency:
                break
            before = page[-1].id
        return due

    def _count(self) -> None:
        self._lane.in_flight = sum(each.containers for each in self._draining.values())
