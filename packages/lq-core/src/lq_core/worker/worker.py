"""
The worker: it claims, runs, keeps its heartbeat, and looks after what others have left behind.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Self

from lq_core.attempt import StopReason
from lq_core.errors import ConfigurationError
from lq_core.event_log import event_log
from lq_core.execution import BaseExecutionBackend
from lq_core.heartbeat import Heartbeat
from lq_core.identity import new_worker_id
from lq_core.queue import WorkerInfo
from lq_core.record import Place
from lq_core.service import QueueService
from lq_core.service.runner import SETTLE_GRACE, Runner
from lq_core.worker.loop import Stop, repeat
from lq_core.worker.maintenance import Maintenance
from lq_core.worker.needs import check_providers
from lq_core.worker.pump import DispatchPump, Pump
from lq_core.worker.scheduler import Scheduler

log = event_log()


class Worker:
    """
    Runs the records of a queue: ``async with Worker(service):`` beside a program, or ``await worker.run()``.

    One worker serves every execution backend that is installed or configured; each record says which is its own.
    Stopping drains: no more claims, running tasks get ``shutdown_grace`` seconds, the rest is given back
    without spending a retry.
    """

    def __init__(self, service: QueueService) -> None:
        if not isinstance(service, QueueService):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            raise TypeError(
                f"{service!r:.200} is no QueueService: `async with QueueService(config) as queue, Worker(queue)`."
            )
        self._service = service
        self._stop = Stop()
        self._hurry = Stop()
        self._started = asyncio.Event()
        self._body: asyncio.Task[None] | None = None
        self._pumps: list[Pump] = []
        self._worker_id: str | None = None
        self._nudges: list[Callable[[], None]] = []

    @property
    def worker_id(self) -> str | None:
        """The id that the worker started under; None before that."""
        return self._worker_id

    def stop(self) -> None:
        """Ask the worker to drain and end; :meth:`run` returns when it has."""
        self._stop.set()
        self._service.queue_backend.wake()
        for nudge in (*self._nudges, *(pump.nudge for pump in self._pumps)):
            nudge()

    def give_back(self) -> None:
        """Ask the worker to end at once: what runs is not waited for, but given back without spending a retry."""
        self._hurry.set()
        self.stop()

    async def run(self) -> None:
        """
        Work until :meth:`stop` is called, then drain.

        Raises what the configuration or a configured execution backend cannot work with, and MissingProviderError
        when a task of ``QueueConfig.task_modules`` asks for what nobody provides; nothing that
        happens while it works ends it.
        """
        service = self._service
        config, runner = service.config, service.runner
        backends = await service.executions.usable(service)
        if not backends:
            raise ConfigurationError("There is no execution backend to run records with: pip install lq-local")
        check_providers(service)
        for queue, limits in config.queue_limits.items():
            await service.limit_queue(queue, concurrency=limits.concurrency, rate=limits.rate)
        heartbeat = Heartbeat(service.queue_backend, self._info(backends), service.runner.attempts)
        await heartbeat.start()
        self._worker_id = heartbeat.worker_id
        local = {name: backend for name, backend in backends.items() if not backend.external}
        external = {name: backend for name, backend in backends.items() if backend.external}
        pumps = self._pumps
        if local:
            pumps.append(Pump(service, local, heartbeat=heartbeat, queues=config.queues))
            runner.hosts.append(pumps[0])
        for name, backend in external.items():
            one = {name: backend}
            pumps.append(DispatchPump(service, one, heartbeat=heartbeat, queues=config.queues))
        claiming = [asyncio.create_task(repeat("claim", pump.step, self._stop)) for pump in pumps]
        upkeep = self._maintenance(external, heartbeat)
        self._started.set()
        log.info("worker.started", extra={"worker_id": heartbeat.worker_id, "execution_backends": sorted(backends)})
        try:
            await asyncio.shield(asyncio.gather(*claiming))
        finally:
            await self._drain(claiming, upkeep, heartbeat, runner)

    async def __aenter__(self) -> Self:
        self._body = asyncio.create_task(self.run())
        started = asyncio.create_task(self._started.wait())
        await asyncio.wait([self._body, started], return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._body.done():
            self._body.result()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._body is not None:
            await self._body

    def _info(self, backends: Mapping[str, BaseExecutionBackend]) -> WorkerInfo:
        now = self._service.queue_backend.now()
        return WorkerInfo(
            id=new_worker_id(),
            queues=self._service.config.queues,
            execution_backends=tuple(sorted(backends)),
            concurrency=self._service.config.concurrency,
            started_at=now,
            seen_at=now,
        )

    def _held(self) -> set[Place]:
        return {*self._service.runner.attempts, *(place for pump in self._pumps for place in pump.running.values())}

    def _maintenance(
        self, external: Mapping[str, BaseExecutionBackend], heartbeat: Heartbeat
    ) -> list[asyncio.Task[None]]:
        maintenance = Maintenance(self._service, heartbeat=heartbeat, held=self._held)
        self._nudges.append(maintenance.nudge)
        steps = [
            *(maintenance.rescue, maintenance.recover, maintenance.expire),
            *(maintenance.cancel, maintenance.release, maintenance.delete, maintenance.prune),
        ]
        loops = [asyncio.create_task(repeat(step.__name__, step, self._stop)) for step in steps]
        scheduler = Scheduler(self._service)
        loops.append(asyncio.create_task(repeat("schedule", scheduler.step, self._stop)))
        for name, backend in external.items():
            step = partial(maintenance.reconcile, name, backend)
            loops.append(asyncio.create_task(repeat(f"reconcile {name}", step, self._stop)))
        return loops

    async def _drain(
        self,
        claiming: list[asyncio.Task[None]],
        upkeep: list[asyncio.Task[None]],
        heartbeat: Heartbeat,
        runner: Runner,
    ) -> None:
        """Let what runs finish within grace, give back the rest, and sign off; at once when it is cancelled again."""
        self.stop()
        for loop in upkeep:  # Another worker does what is left undone; some of it reads the whole table.
            loop.cancel()
        try:
            await asyncio.gather(*claiming, *upkeep, return_exceptions=True)
            running = self._running()
            log.info("worker.draining", extra={"worker_id": heartbeat.worker_id, "running": len(running)})
            if running:
                await self._wait_for(running)
        finally:
            try:
                await self._give_back_what_runs(heartbeat)
            finally:
                await heartbeat.stop()
                runner.hosts[:] = [host for host in runner.hosts if host not in self._pumps]
                runner.on_end[:] = [nudge for nudge in runner.on_end if nudge not in self._nudges]
        log.info("worker.stopped", extra={"worker_id": heartbeat.worker_id})

    def _running(self) -> set[asyncio.Task[object]]:
        return {execution for pump in self._pumps for execution in pump.running}

    async def _give_back_what_runs(self, heartbeat: Heartbeat) -> None:
        late = self._running()
        if not late:
            return
        for attempt in list(self._service.runner.attempts.values()):
            if attempt.record.worker_id == heartbeat.worker_id:
                attempt.stop(StopReason.STOPPING)
        _, left = await asyncio.wait(late, timeout=SETTLE_GRACE)
        if left:
            names = sorted({attempt.record.task_name for attempt in self._service.runner.attempts.values()})
            log.warning("worker.left_running", extra={"worker_id": heartbeat.worker_id, "tasks": names})

    async def _wait_for(self, running: set[asyncio.Task[object]]) -> None:
        """Wait until all have ended, grace is over or :meth:`give_back` is called."""
        hurry = asyncio.create_task(self._hurry.wait(self._service.config.shutdown_grace))
        ended = asyncio.create_task(asyncio.wait(running))
        await asyncio.wait([hurry, ended], return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        ended.cancel()
