"""Runs records as executions of Cloud Run jobs: dispatch or pull, reconcile, cancel."""

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from lq_cloudrun.clients import CloudRunClients, ExecutionsClient, JobsClient
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.container.queue_access import refuse_memory
from lq_cloudrun.dispatch.dispatcher import Dispatcher
from lq_cloudrun.dispatch.pacer import Pacers
from lq_cloudrun.dispatch.pull_dispatcher import PullDispatcher
from lq_cloudrun.dispatch.reader_turns import Turns
from lq_cloudrun.dispatch.reconciler import Reconciler
from lq_cloudrun.executions.executions import Executions
from lq_cloudrun.executions.request import run_job_request
from lq_cloudrun.executions.status import CloudRunExecutionStatus, status_of
from lq_cloudrun.executions.target import names_execution
from lq_cloudrun.google.connection import connect
from lq_cloudrun.google.refusal import code_of, line_of
from lq_core.config.queue_config import QueueConfig
from lq_core.execution import ExecutionService, ExternalExecutionBackend, get_execution_backend_class
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.event_log import event_log
from lq_core.queue import Finding
from lq_core.records.record import QueuedTaskRecord, TaskStatus

__all__ = ["CloudRunExecutionBackend", "CloudRunExecutionStatus"]

log = event_log("lq.cloudrun")

NOT_CONFIGURED: Final = (
    "Cloud Run is not configured: add a CloudRunExecutionConfig(project_id=..., job_name=...) to "
    "QueueConfig(execution_backends=(...,))."
)


class CloudRunExecutionBackend(ExternalExecutionBackend):
    """
    Runs each record in an execution of the Cloud Run job that the profile of the record names.

    A container claims its record by id and epoch (:mod:`lq_cloudrun.entrypoint`), so that a dispatcher can die at any
    moment. With ``dispatch="pull"``, :meth:`capacity` starts executions instead, whose containers take due records.
    :meth:`open` makes Google's clients unless you pass them.
    """

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
        self._execution_config = execution_config or CloudRunExecutionConfig.of(self.config)
        self.jobs_client = jobs_client
        self.executions_client = executions_client
        self._connected: CloudRunClients | None = None
        if self._execution_config is not None:
            self.reconcile_interval = self._execution_config.poll_interval

    @property
    def execution_config(self) -> CloudRunExecutionConfig:
        """The configuration of the jobs. Raises ConfigurationError if there is none."""
        if self._execution_config is None:
            raise ConfigurationError(NOT_CONFIGURED)
        return self._execution_config

    async def open(self, service: ExecutionService) -> None:
        """
        Import and connect Google's clients.

        Raises ConfigurationError if no job is configured, containers cannot reach the queue, or credentials or
        packages are missing, and UnknownBackendError if the fallback is not installed.
        """
        self._executions.targets.jobs()
        refuse_memory(service.queue_backend)
        self._check_fallback()
        await self._clients()

    async def close(self) -> None:
        """Close the clients that this backend has made."""
        ours, self._connected = self._connected, None
        if ours is not None:
            if ours.close is not None:
                await ours.close()
            self.jobs_client = None if self.jobs_client is ours.jobs else self.jobs_client
            self.executions_client = None if self.executions_client is ours.executions else self.executions_client

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        """Dispatch a record and return what the queue has. The container binds a worker id of its own."""
        return await self._dispatcher.dispatch(service, record)

    async def dispatch(self, service: ExecutionService, record: QueuedTaskRecord) -> str | None:
        """Start an execution for a record. Return its name; None if no execution is known to exist."""
        dispatched = await self._dispatcher.dispatch(service, record)
        return dispatched.execution_ref if names_execution(dispatched.execution_ref) else None

    async def reconcile(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Compare a record with its execution now. Return the record if its state changed."""
        return await self._reconciler.look(service, record)

    async def reconcile_many(
        self, service: ExecutionService, records: Sequence[QueuedTaskRecord]
    ) -> list[QueuedTaskRecord]:
        """Compare the records that are due for a look with their executions, with one list for each job."""
        return await self._reconciler.look_at_due(service, records)

    async def cancel(self, service: ExecutionService, record: QueuedTaskRecord) -> bool:
        """Ask Cloud Run to cancel the execution of a record. True if it accepts."""
        if record.has_ended or (record.status is TaskStatus.RUNNING and record.execution_ref is None):
            # Without an execution of its own, only the container can stop the record.
            return False
        name, job = record.execution_ref, self._executions.targets.job_of(record)
        try:
            if not names_execution(name):
                execution = await self._executions.of(record, job) if job else None
                name = None if execution is None else execution.name
            return name is not None and await self._executions.stop(name)
        except Exception as error:
            if not code_of(error):
                raise
            log.warning("cloudrun.cancel_failed", extra={"record_id": str(record.id), "error": str(error)})
            return False

    async def capacity(self, service: ExecutionService) -> int:
        """Return how many records may be dispatched now, to the job that has the most room. In pull mode: 0."""
        await self._pacers.share(service)
        if self.execution_config.dispatch == "pull":
            try:
                await self._pulls.look(service)
            except Exception as error:
                if not code_of(error):
                    raise
                log.warning("cloudrun.look_failed", extra={"error": line_of(error)})
            if not self._pulls.is_refused:
                return 0
            # The job cannot run at all: its records are dispatched one by one, and so go to the fallback.
        now = time.monotonic()
        await self._pacers.count(service)
        return self._pacers.room(now)

    async def diagnose(self, service: ExecutionService) -> Sequence[Finding]:
        """Check the configuration, the jobs and the permissions. A missing client or credentials are findings too."""
        if self._execution_config is not None:
            from lq_cloudrun.setup.diagnosis import diagnose, misspelt_profiles  # noqa: PLC0415 -- only the doctor needs it

            config = self._execution_config
            misspelt = await misspelt_profiles(config, service.queue_backend, self.name)
            return [*await diagnose(config, self._clients), *misspelt]
        if self.name not in (service.config.execution_backend, *service.config.execution_backends):
            return ()
        return [Finding.of("Cloud Run jobs", "not configured", advice=NOT_CONFIGURED)]

    async def check_execution_status(self, execution_ref: str) -> CloudRunExecutionStatus:
        """Read the status of an execution. If it cannot be read, it counts as running, with the reason as its error."""
        try:
            return status_of(await self._executions.get(execution_ref))
        except Exception as error:  # noqa: BLE001 -- after any error, the execution may be running
            return CloudRunExecutionStatus(error=line_of(error))

    def build_run_job_request(self, service: ExecutionService, record: QueuedTaskRecord) -> dict[str, Any]:
        """Build the request that starts the execution of a record. Raises UnknownProfileError."""
        return run_job_request(record, self._executions.targets.of(record), self.execution_config)

    # ------------------------------------------------------------ the parts

    @cached_property
    def _executions(self) -> Executions:
        return Executions(self.execution_config, self._clients)

    @cached_property
    def _pacers(self) -> Pacers:
        return Pacers(self.execution_config, name=self.name, targets=self._executions.targets)

    @cached_property
    def _reconciler(self) -> Reconciler:
        return Reconciler(self._executions, Turns(self.name))

    @cached_property
    def _dispatcher(self) -> Dispatcher:
        return Dispatcher(executions=self._executions, pacers=self._pacers, build=self.build_run_job_request)

    @cached_property
    def _pulls(self) -> PullDispatcher:
        return PullDispatcher(self._executions, self._pacers, Turns(self.name))

    def _check_fallback(self) -> None:
        """Refuse a fallback that no worker serves, or that is this backend itself."""
        name = self.execution_config.fallback_execution_backend
        if name is None:
            return
        if get_execution_backend_class(name) is type(self):
            raise ConfigurationError(
                f"fallback_execution_backend is {name!r}, which is what failed; name another one, or None to wait."
            )
        configured = (self.config.execution_backend, *self.config.execution_backends)
        if {".", ":"} & set(name) and name not in configured:
            raise ConfigurationError(
                f"fallback_execution_backend is {name!r}, which no worker looks for: give its short name, or add "
                "it to QueueConfig(execution_backends=(...,))."
            )

    async def _clients(self) -> CloudRunClients:
        """Return the clients, those that were passed first; connect at the first call."""
        if self._connected is None and (self.jobs_client is None or self.executions_client is None):
            self._connected = await connect(self.execution_config)
            self.jobs_client = self.jobs_client or self._connected.jobs
            self.executions_client = self.executions_client or self._connected.executions
        assert self.jobs_client is not None
        assert self.executions_client is not None
        tasks = None if self._connected is None else self._connected.tasks
        return CloudRunClients(jobs=self.jobs_client, executions=self.executions_client, tasks=tasks)
