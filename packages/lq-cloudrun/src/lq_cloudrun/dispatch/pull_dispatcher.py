"""
Starts executions in pull mode: while records are due, as many containers as there is work and room for.

Records are not reserved: containers claim them. One worker at a time starts executions for the queues of a job, and
knows them by name. It reads the list of the job only when it takes over and after a lost answer, so that it counts the
executions of other workers and of calls whose answers were lost, and does not walk the ended ones before each start.
"""

import math
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lq_cloudrun.dispatch.pacer import Pacers, live_workers
from lq_cloudrun.dispatch.reader_turns import Turns, has_turn, term_of
from lq_cloudrun.executions.executions import Executions, NotStartedError, same_queues
from lq_cloudrun.executions.request import PullOrder, run_pull_request
from lq_cloudrun.executions.status import containers_left, log_url_of, status_of
from lq_cloudrun.google.refusal import Refusal
from lq_core.execution import ExecutionService
from lq_core.foundation.event_log import event_log
from lq_core.queue import Claim, RecordFilter
from lq_core.records.record import Fence, TaskStatus

log = event_log("lq.cloudrun")

PAGE: Final = 100
MOST_PAGES: Final = 50
"""How many pages of pending records are read at most to count the due ones."""

SAMPLE: Final = 10


class Pulling(Struct, frozen=True, kw_only=True):
    """The facts about one execution in pull mode that this dispatcher knows."""

    containers: int
    """How many of its containers have not ended."""

    since: datetime
    """When it was started or found, by the clock of the queue."""

    sample: frozenset[Fence] = frozenset()
    """Some records that were due at its start. Empty once a container of it is known to work."""


class PullDispatcher:
    """Starts executions of the default job."""

    def __init__(self, executions: Executions, pacers: Pacers, turns: Turns) -> None:
        self._name = pacers.name
        self._turns = turns
        self._config = executions.config
        self._executions = executions
        self._target = executions.targets.named(None)
        self._pacer = pacers.by_job[self._target.job]
        self._pulling: dict[str, Pulling] = {}
        self._listed_in: int | None = None
        """The last term in which this process had its turn and knew every execution; None if it may not know one."""

        self._next_look = float("-inf")
        self._refused_until = float("-inf")
        self._seen_due: frozenset[Fence] = frozenset()
        """The records that were due at the last look."""

        self._seen_at: datetime | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the job cannot run at all, so that its records go to the fallback one by one."""
        return time.monotonic() < self._refused_until

    async def look(self, service: ExecutionService) -> None:
        """Start an execution if there are more due records than the running executions will take."""
        now = time.monotonic()
        if now < self._next_look or not await self._is_due(service):
            return
        self._next_look = now + self._config.poll_interval
        if not await self._has_turn(service):
            return
        registered = await self._registered(service)
        await self._update(service, registered)
        if self._pacer.room(now) < 1:
            return
        at, due = service.queue_backend.now(), await self._due(service)
        full = self._full(due, registered)
        self._seen_at, self._seen_due = at, frozenset(due)
        if self._wanted(len(due), full, at) < 1:
            return
        if self._listed_in is None:
            for name, containers in (await self._executions.pulling(self._target.job, service.config.queues)).items():
                self._pulling.setdefault(name, Pulling(containers=containers, since=at))
            self._listed_in = term_of(at)
            self._count()
        wanted = self._wanted(len(due), full, at)
        if wanted > 0:
            await self._start(service, min(wanted, self._config.pull_tasks), frozenset(due[-SAMPLE:]))

    async def _has_turn(self, service: ExecutionService) -> bool:
        """Whether this process starts the executions for its queues now. If not, others may start some meanwhile."""
        queues, term = service.config.queues, term_of(service.queue_backend.now())
        workers = await self._turns.rivals(service)
        rivals = [worker for worker in workers if same_queues(worker.queues, queues)]
        subject = f"{self._target.job} {'all' if queues is None else sorted(queues)}"
        mine = has_turn(subject, rivals, own=service.worker_ids, term=term)
        # The rate is shared by those that start executions: one worker for each choice of queues.
        self._pacer.sharers = len({worker.queues and frozenset(worker.queues) for worker in workers}) or 1
        went_on = self._listed_in is not None and term <= self._listed_in + 1
        self._listed_in = term if mine and rivals and went_on else None
        return mine

    def _full(self, due: Sequence[Fence], registered: Sequence[datetime]) -> int:
        """
        Count the containers that run as many records as they can, by the moments at which they registered.

        A container with room claims what is due at once. A record that stays due from one look to the next shows that
        the containers of that time are full.
        """
        seen_at = self._seen_at
        if seen_at is None or self._seen_due.isdisjoint(due):
            return 0
        taking_since = seen_at - timedelta(seconds=self._config.pull_time)
        return sum(taking_since < moment <= seen_at for moment in registered)

    def _wanted(self, due: int, full: int, at: datetime) -> int:
        """Count the further containers that there are work and room for. One that is about to end takes no more."""
        young = at - timedelta(seconds=self._config.pull_time)
        taking = sum(each.containers for each in self._pulling.values() if each.since > young)
        work = math.ceil(max(due, 1) / self._config.pull_concurrency)
        return min(work - max(taking - full, 0), self._config.max_in_flight - self._pacer.in_flight)

    async def _start(self, service: ExecutionService, containers: int, due: frozenset[Fence]) -> None:
        config, since = self._config, service.queue_backend.now()
        order = PullOrder(
            job=self._target.job,
            queues=service.config.queues,
            execution_backend=self._name,
            concurrency=config.pull_concurrency,
            pull_time=config.pull_time,
            timeout=config.timeout,
            max_interruptions=config.max_interruptions,
        )
        request = run_pull_request(self._target, config, order, containers=containers)
        self._pacer.take(time.monotonic())
        try:
            execution = await self._executions.start(request, job=self._target.job)
        except NotStartedError as failed:
            now = time.monotonic()
            falls_back = config.fallback_execution_backend is not None
            pause = self._pacer.refused(failed.refusal, now, began=failed.began, falls_back=falls_back)
            if failed.refusal is Refusal.UNKNOWN:
                # The execution may exist: the list shows it, but not at once.
                self._next_look, self._listed_in = now + config.confirm_after, None
            elif failed.refusal is Refusal.MISCONFIGURED and not pause:
                self._next_look = self._refused_until = now + config.breaker_pause
            return
        self._pulling[execution.name] = Pulling(containers=containers, since=since, sample=due)
        log.info("cloudrun.pull_started", extra={"execution": execution.name, "containers": containers})

    async def _registered(self, service: ExecutionService) -> list[datetime]:
        """Return when each live container registered that takes from the same queues."""
        return [
            worker.started_at
            for worker in await live_workers(service)
            if worker.concurrency
            and not worker.execution_backends
            and same_queues(worker.queues, service.config.queues)
        ]

    async def _update(self, service: ExecutionService, registered: Sequence[datetime]) -> None:
        """Read the executions that are known here, and forget those that have ended."""
        for name, pulling in list(self._pulling.items()):
            execution = await self._executions.get(name)
            if execution is not None and not status_of(execution).ended:
                works = any(moment >= pulling.since for moment in registered)
                sample = frozenset[Fence]() if works else pulling.sample
                self._pulling[name] = replace(pulling, containers=containers_left(execution), sample=sample)
                continue
            del self._pulling[name]
            if execution is None or not await self._has_done_nothing(service, pulling):
                self._pacer.accepted()
                continue
            pause = self._pacer.close(time.monotonic())
            # It ended early, and the records that were due are still there: it cannot work, or reads another queue.
            ending = await self._executions.ending(execution)
            facts = {"execution": name, "ended": ending.summary, "advice": ending.advice, "log": log_url_of(execution)}
            log.warning("cloudrun.pulled_nothing", extra={**facts, "pause": pause})
        self._count()

    async def _has_done_nothing(self, service: ExecutionService, pulling: Pulling) -> bool:
        queue = service.queue_backend
        if not pulling.sample or (queue.now() - pulling.since).total_seconds() >= self._config.pull_time:
            return False
        records = await queue.get_many([record_id for record_id, _ in pulling.sample])
        return pulling.sample.issubset((record.id, record.epoch) for record in records)

    async def _is_due(self, service: ExecutionService) -> bool:
        queue = service.queue_backend
        claim = Claim(worker_id="", limit=1, execution_backends=(self._name,), queues=service.config.queues)
        due = await queue.next_due(claim)
        return due is not None and due <= queue.now()

    async def _due(self, service: ExecutionService) -> list[Fence]:
        """Read due records, newest first, until there is work for every container that may run."""
        queue = service.queue_backend
        condition = RecordFilter(
            statuses=(TaskStatus.PENDING,), execution_backends=(self._name,), queues=service.config.queues
        )
        paused = {name for name, state in (await queue.queues()).items() if state.paused}
        now, due, before = queue.now(), list[Fence](), None
        for _ in range(MOST_PAGES):
            page = await queue.find(condition, limit=PAGE, before=before)
            due += [
                (record.id, record.epoch)
                for record in page
                if record.scheduled_at <= now and record.queue not in paused and not record.cancel_requested
            ]
            if len(page) < PAGE or len(due) >= self._config.max_in_flight * self._config.pull_concurrency:
                break
            before = page[-1].id
        return due

    def _count(self) -> None:
        self._pacer.in_flight = sum(each.containers for each in self._pulling.values())
