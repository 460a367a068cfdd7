"""Runs records as executions of Cloud Run jobs: dispatch or drain, reconcile, cancel."""

import time
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from lq_cloudrun.clients import ExecutionsClient, JobsClient
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.dispatcher import Dispatcher
from lq_cloudrun.drain_dispatcher import DrainDispatcher
from lq_cloudrun.executions import Executions
from lq_cloudrun.google_clients import GoogleClients, connect
from lq_cloudrun.living import living_workers
from lq_cloudrun.pacing import Lane
from lq_cloudrun.reaching import refuse_memory
from lq_cloudrun.reconciler import Reconciler
from lq_cloudrun.request import run_job_request
from lq_cloudrun.status import CloudRunExecutionStatus, status_of, unknown
from lq_cloudrun.target import Targets, UnknownProfileError, names_execution
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError
from lq_core.event_log import event_log
from lq_core.execution import BaseExecutionBackend, ExecutionService, get_execution_backend_class
from lq_core.queue import RecordFilter
from lq_core.record import OWNED, QueuedTaskRecord, TaskStatus

__all__ = ["CloudRunExecutionBackend", "CloudRunExecutionStatus"]

log = event_log("lq.cloudrun")


class CloudRunExecutionBackend(BaseExecutionBackend):
    """
    Hands records to Cloud Run: one record, one execution of the job that its profile names.

    A container claims its record by id and epoch (:mod:`lq_cloudrun.entrypoint`), so that a dispatcher may die at any
    moment. With ``dispatch="drain"`` a worker that asks for the :meth:`capacity` has executions started instead, whose
    containers take what is due. Google's clients are made by :meth:`open`, unless they are given.
    """

    external: ClassVar[bool] = True
    name = "cloudrun"

    def __init__(
        self,
        config: QueueConfig | None = None,
        *,
        execution_config: CloudRunExecutionConfig | None = None,
        jobs_client: JobsClient | None = None,
        executions_client: ExecutionsClient | None = None,
    ) -> None:
        super().__init__(config)
        self._execution_config = execution_config or _configured(self.config)
        self.jobs_client = jobs_client
        self.executions_client = executions_client
        self._connected: GoogleClients | None = None
        self._lanes: dict[str, Lane] = {}
        if self._execution_config is not None:
            self.reconcile_interval = self._execution_config.poll_interval

    @property
    def execution_config(self) -> CloudRunExecutionConfig:
        """Which jobs there are. Raises ConfigurationError when nobody has said."""
        if self._execution_config is None:
            raise ConfigurationError(
                "Cloud Run is not configured: add a CloudRunExecutionConfig(project_id=..., job_name=...) to "
                "QueueConfig(execution_backends=(...,))."
            )
        return self._execution_config

    async def open(self, service: ExecutionService) -> None:
        """
        Import and connect Google's clients.

        Raises ConfigurationError when no job is configured, containers cannot reach the queue, or credentials or
        packages are missing, and UnknownBackendError when the fallback is not installed.
        """
        self._targets.jobs()
        refuse_memory(service.queue_backend)
        self._check_fallback()
        await self._connect()

    async def close(self) -> None:
        """Let go of the connection, if it is ours."""
        ours, self._connected = self._connected, None
        if ours is not None:
            await ours.close()
            self.jobs_client = None if self.jobs_client is ours.jobs else self.jobs_client
            self.executions_client = None if self.executions_client is ours.executions else self.executions_client

    async def execute(
        self,
        service: ExecutionService,
        record: QueuedTaskRecord,
        *,
        worker_id: str | None = None,  # noqa: ARG002 -- the container binds its own
    ) -> QueuedTaskRecord:
        """Dispatch a record, and return it as it is kept; the container binds a worker id of its own."""
        return await self._dispatcher.dispatch(service, record)

    async def dispatch(self, service: ExecutionService, record: QueuedTaskRecord) -> str | None:
        """Start an execution for a record; return its name, or None when none is known to have been created."""
        dispatched = await self._dispatcher.dispatch(service, record)
        return dispatched.execution_ref if names_execution(dispatched.execution_ref) else None

    async def reconcile(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Compare a record with its execution now; return it if that changed its state."""
        return await self._reconciler.look(service, record)

    async def reconcile_many(
        self, service: ExecutionService, records: Sequence[QueuedTaskRecord]
    ) -> list[QueuedTaskRecord]:
        """Compare those records with their executions whose time has come, with one list for each job."""
        return await self._reconciler.look_at_due(service, records)

    async def cancel(
        self,
        service: ExecutionService,  # noqa: ARG002 -- the contract hands it to every backend
        record: QueuedTaskRecord,
    ) -> bool:
        """Ask Cloud Run to end the execution of a record; True when it will."""
        if record.has_ended or (record.status is TaskStatus.RUNNING and record.execution_ref is None):
            # One that runs in no execution of its own is stopped by its container alone.
            return False
        try:
            name = record.execution_ref
            if not names_execution(name):
                job = name or self._targets.of(record).job
                execution = await self._executions.of(record, job)
                name = None if execution is None else execution.name
            return name is not None and await self._executions.stop(name)
        except UnknownProfileError:
            return False
        except Exception as error:
            if getattr(error, "grpc_status_code", None) is None:
                raise
            log.warning("cloudrun.cancel_failed", extra={"record_id": str(record.id), "error": str(error)})
            return False

    async def capacity(self, service: ExecutionService) -> int:
        """How many more records may be dispatched now, to the job that has most room; 0 where Cloud Run drains."""
        await self._share(service)
        if self.execution_config.dispatch == "drain" and not await self._is_turned_away(service):
            return 0
        jobs, now = self._targets.jobs(), time.monotonic()
        await self._count(service, jobs)
        return max(self._lane(job).room(now) for job in jobs)

    async def check_execution_status(self, execution_ref: str) -> CloudRunExecutionStatus:
        """Ask where an execution stands; when nobody can say, it reads as running, with the reason as its error."""
        try:
            execution = await self._executions.get(execution_ref)
        except Exception as error:  # noqa: BLE001 -- whatever kept the answer away, the execution may be running
            return unknown(f"{type(error).__name__}: {error}")
        return unknown("Cloud Run does not know the execution") if execution is None else status_of(execution)

    def build_run_job_request(
        self,
        service: ExecutionService,  # noqa: ARG002 -- for a subclass that asks it for more
        record: QueuedTaskRecord,
    ) -> dict[str, Any]:
        """Build the request that starts the execution of a record. Raises UnknownProfileError."""
        return run_job_request(record, self._targets.of(record), self.execution_config)

    # ------------------------------------------------------------ the parts

    @cached_property
    def _targets(self) -> Targets:
        return Targets(self.execution_config)

    @cached_property
    def _executions(self) -> Executions:
        return Executions(self.execution_config, self._executions_client)

    @cached_property
    def _reconciler(self) -> Reconciler:
        return Reconciler(self.execution_config, targets=self._targets, executions=self._executions)

    @cached_property
    def _dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self.execution_config,
            name=self.name,
            targets=self._targets,
            client=self._jobs_client,
            executions=self._executions,
            lane=self._lane,
            build=self.build_run_job_request,
            clock=time.monotonic,
        )

    @cached_property
    def _drains(self) -> DrainDispatcher:
        return DrainDispatcher(
            self.execution_config,
            name=self.name,
            target=self._targets.named(None),
            client=self._jobs_client,
            executions=self._executions,
            lane=self._lane,
            clock=time.monotonic,
        )

    def _check_fallback(self) -> None:
        """Refuse a fallback that no worker looks for, or that is what failed."""
        fallback = self.execution_config.fallback_execution_backend
        if fallback is None:
            return
        if get_execution_backend_class(fallback) is type(self):
            raise ConfigurationError(
                f"fallback_execution_backend is {fallback!r}, which is what failed; name another one, or None to wait."
            )
        configured = (self.config.execution_backend, *self.config.execution_backends)
        if {".", ":"} & set(fallback) and fallback not in configured:
            raise ConfigurationError(
                f"fallback_execution_backend is {fallback!r}, which no worker looks for: give its short name, or add "
                "it to QueueConfig(execution_backends=(...,))."
            )

    async def _is_turned_away(self, service: ExecutionService) -> bool:
        """See to the executions that drain; True when the job cannot be run, and records may go to the fallback."""
        try:
            await self._drains.look(service)
        except Exception as error:
            if getattr(error, "grpc_status_code", None) is None:
                raise
            log.warning("cloudrun.look_failed", extra={"error": f"{type(error).__name__}: {error}"})
        return self._drains.is_refused

    def _lane(self, job: str) -> Lane:
        if job not in self._lanes:
            self._lanes[job] = Lane(self.execution_config)
        return self._lanes[job]

    async def _share(self, service: ExecutionService) -> None:
        """Take no more of the pace and of the room than one of the workers that dispatch here may."""
        sharers = sum(self.name in worker.execution_backends for worker in await living_workers(service))
        for job in self._targets.jobs():
            self._lane(job).sharers = max(sharers, 1)

    async def _count(self, service: ExecutionService, jobs: Sequence[str]) -> None:
        """Count what is in flight over all workers, right before more is claimed."""
        config = self.execution_config
        condition = RecordFilter(statuses=tuple(sorted(OWNED)), execution_backends=(self.name,))
        counts, page, before = Counter[str | None](), len(jobs) * config.max_in_flight + 1, None
        while records := await service.queue_backend.find(condition, limit=page, before=before):
            counts.update(map(self._targets.job_of, records))
            before = records[-1].id
            if len(records) < page:
                break
        for job in jobs:
            self._lane(job).in_flight = counts[job]

    async def _jobs_client(self) -> JobsClient:
        if self.jobs_client is None:
            await self._connect()
        assert self.jobs_client is not None
        return self.jobs_client

    async def _executions_client(self) -> ExecutionsClient:
        if self.executions_client is None:
            await self._connect()
        assert self.executions_client is not None
        return self.executions_client

    async def _connect(self) -> None:
        if self.jobs_client is None or self.executions_client is None:
            self._connected = clients = await connect(self.execution_config.endpoint)
            self.jobs_client = self.jobs_client or clients.jobs
            self.executions_client = self.executions_client or clients.executions


def _configured(config: QueueConfig) -> CloudRunExecutionConfig | None:
    settings = (config.execution_backend, *config.execution_backends)
    return next((each for each in settings if isinstance(each, CloudRunExecutionConfig)), None)
