"""
What runs in the container: one record, or whatever is due, and one exit code.

It imports nothing of Google's, so that it starts fast. The record's outcome is stored before the process ends, also
when Cloud Run asks it to stop.
"""

import asyncio
import inspect
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from lq_cloudrun.claim import Claim, claim
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.container import Container, DrainContainer, EnvironmentProblem, RecordContainer, read_container
from lq_cloudrun.event_lines import show_events
from lq_cloudrun.exit_code import CloudRunExitCode
from lq_cloudrun.loading import import_modules, load_service
from lq_cloudrun.reaching import open_where_it_is, reach, refuse_memory
from lq_cloudrun.termination import Termination
from lq_core import lifecycle
from lq_core.attempt import StopReason, failure_of
from lq_core.backoff import retry_delay
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError, QueueError, StorageError
from lq_core.event_log import event_log
from lq_core.record import Place, QueuedTaskRecord, TaskStatus
from lq_core.service import QueueService

__all__ = ["CloudRunExitCode", "execute_cloudrun_task", "main"]

log = event_log("lq.cloudrun")

ServiceFactory = Callable[[], QueueService | Awaitable[QueueService]]

LAST_LOOK: Final = 2.0
"""Seconds to find out why the process is asked to stop; after SIGTERM there are fewer than ten."""

CLOSING: Final = 3.0
"""Seconds to sign off before the process ends."""

NEAR_THE_LIMIT: Final = 5.0
"""Seconds before the limit of the execution from which on SIGTERM means that its time is up."""


async def execute_cloudrun_task(
    *,
    config: QueueConfig | None = None,
    service: QueueService | None = None,
    service_factory: ServiceFactory | None = None,
    env: Mapping[str, str] | None = None,
) -> CloudRunExitCode:
    """
    Run the record that the environment names, or drain what it says, and tell what to exit with.

    The service is *service* (opened if need be, and left open), else what *service_factory* makes, else one for
    *config*, else what the variables ``{env_prefix}_CONFIG`` or ``{env_prefix}_CONFIG_FACTORY`` name.
    """
    termination = Termination()
    termination.install()
    try:
        return await _execute(os.environ if env is None else env, termination, config, service, service_factory)
    finally:
        termination.restore()


def main() -> None:
    """Do the work of this container; always raises SystemExit with the code."""
    termination = Termination()
    termination.install()
    show_events()
    if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109 -- a path to import from, as text
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- as above
    raise SystemExit(int(asyncio.run(_execute(os.environ, termination))))


async def _execute(
    env: Mapping[str, str],
    termination: Termination,
    config: QueueConfig | None = None,
    service: QueueService | None = None,
    service_factory: ServiceFactory | None = None,
) -> CloudRunExitCode:
    began = time.monotonic()
    try:
        container = read_container(env, config or (service.config if service else None))
        if isinstance(container, RecordContainer) and container.index > 0:
            log.info("cloudrun.nothing_to_do", extra={"reason": "only the first task of an execution runs a record"})
            return CloudRunExitCode.SUCCESS
        shared, service = service is not None, service or await _made(container, config, service_factory)
        import_modules(container.task_modules, f"{container.prefix}_TASK_MODULES")
    except EnvironmentProblem as problem:
        log.error("cloudrun.refused", extra={"reason": str(problem)})  # noqa: TRY400 -- the line says all
        return CloudRunExitCode.MISSING_TASK_ID if problem.missing else CloudRunExitCode.INVALID_TASK_ID
    except (QueueError, ImportError) as error:
        log.error("cloudrun.refused", extra={"reason": str(error)})  # noqa: TRY400 -- the line says what to do
        return CloudRunExitCode.FAILURE
    stopping = asyncio.create_task(termination.wait())
    try:
        if isinstance(container, DrainContainer):
            from lq_cloudrun.drain_container import drain  # noqa: PLC0415 -- a worker, which one record does without

            return await drain(service, container, began=began, stopping=stopping)
        return await _Run(service, container, stopping, began).perform()
    finally:
        stopping.cancel()
        if not shared:
            await _close(service)


async def _made(
    container: Container, config: QueueConfig | None, service_factory: ServiceFactory | None
) -> QueueService:
    if service_factory is not None:
        made = service_factory()
        made = await made if inspect.isawaitable(made) else made
        if not isinstance(made, QueueService):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            raise ConfigurationError(f"service_factory returned {made!r}, which is no QueueService.")
        return made
    service = QueueService(config) if config is not None else await load_service(container)
    refuse_memory(service.queue_backend)
    return service


async def _close(service: QueueService) -> None:
    try:
        async with asyncio.timeout(CLOSING):
            await service.close()
    except (TimeoutError, QueueError) as error:
        log.warning("cloudrun.not_closed", extra={"error": f"{type(error).__name__}: {error}"})


class _Run:
    """The way of one container with one record: connect, claim, run, exit."""

    def __init__(
        self, service: QueueService, container: RecordContainer, stopping: "asyncio.Task[None]", began: float
    ) -> None:
        self._service = service
        self._container = container
        self._stopping = stopping
        self._began = began

    async def perform(self) -> CloudRunExitCode:
        claiming = asyncio.create_task(reach(self._connect_and_claim, seconds=self._container.connect_seconds))
        try:
            await asyncio.wait({claiming, self._stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not claiming.done():
                return await self._leave(claiming)
            claimed = claiming.result()
        except (QueueError, OSError) as error:
            log.error("cloudrun.refused", extra=self._facts(reason=str(error)))  # noqa: TRY400 -- the line says all
            return CloudRunExitCode.FAILURE
        else:
            if claimed.record is None:
                log.warning("cloudrun.not_claimed", extra=self._facts(reason=claimed.reason))
                return self._code(claimed.code)
            return await self._run(claimed.record)
        finally:
            claiming.cancel()
            await asyncio.gather(claiming, return_exceptions=True)

    async def _connect_and_claim(self) -> Claim:
        await open_where_it_is(self._service)
        worker_id = await self._service.runner.worker_id()
        return await claim(self._service, self._container, worker_id=worker_id)

    async def _leave(self, claiming: "asyncio.Task[Claim]") -> CloudRunExitCode:
        """Stop before the start: what was claimed at the last moment is given back."""
        log.warning("cloudrun.stopped_early", extra=self._facts())
        claiming.cancel()
        with suppress(asyncio.CancelledError, QueueError, OSError):
            claimed = await claiming
            if claimed.record is not None:
                at = self._service.queue_backend.now()
                back = lifecycle.interrupt(claimed.record, at=at, message="stopped before it began")
                await self._service.swap(claimed.record, back)
        return CloudRunExitCode.FAILURE

    async def _run(self, record: QueuedTaskRecord) -> CloudRunExitCode:
        log.info("cloudrun.claimed", extra=self._facts(task_name=record.task_name, attempt=record.attempt))
        running = asyncio.create_task(self._service.execute_record(record, worker_id=record.worker_id))
        host = _OneBody(running)
        self._service.runner.hosts.append(host)
        await asyncio.wait({running, self._stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await self._stop(record)
        after = await running
        self._service.runner.hosts.remove(host)
        reason = after.error.message if after.error else ""
        log.info("cloudrun.ended", extra=self._facts(status=after.status.value, reason=reason))
        return self._code(_code_of(after))

    async def _stop(self, record: QueuedTaskRecord) -> None:
        """Stop the task, and let the outcome say why: cancelled, out of time, or only interrupted."""
        current = None
        with suppress(TimeoutError, StorageError):
            async with asyncio.timeout(LAST_LOOK):
                current = await self._service.get(record.id)
        reason = StopReason.CANCELLED if current and current.cancel_requested else StopReason.STOPPING
        if reason is StopReason.STOPPING and current is not None and await self._record_timeout(current):
            reason = StopReason.LOST
        log.warning("cloudrun.stopping", extra=self._facts(reason=reason.value))
        attempt = self._service.runner.attempts.get((record.id, record.epoch))
        if attempt is not None:
            attempt.stop(reason)

    async def _record_timeout(self, record: QueuedTaskRecord) -> bool:
        """Fail a task that sets no timeout and has used up that of its execution: it would only do so again."""
        config = self._service.config
        for each in (config.execution_backend, *config.execution_backends):
            if record.timeout is not None or not isinstance(each, CloudRunExecutionConfig):
                continue
            if time.monotonic() - self._began < each.timeout - NEAR_THE_LIMIT:
                continue
            late = TimeoutError(f"The execution was ended after {each.timeout} s; give the task a timeout of its own.")
            delay = retry_delay(record, late)
            at = self._service.queue_backend.now()
            failed = lifecycle.retry_or_fail(record, failure=failure_of(late), delay=delay, at=at)
            return await self._service.swap(record, failed)
        return False

    def _code(self, code: CloudRunExitCode) -> CloudRunExitCode:
        """Exit well under the policy ``recorded`` when a restart of the container could not do any good."""
        unrecorded = {CloudRunExitCode.MISSING_RECORD}
        if self._container.exits_well_when_recorded and code not in unrecorded:
            return CloudRunExitCode.SUCCESS
        return code

    def _facts(self, **facts: object) -> dict[str, object]:
        return {"record_id": str(self._container.task_id), "epoch": self._container.epoch, **facts}


class _OneBody:
    """The asyncio task that runs the record of this container, and nothing else."""

    def __init__(self, body: "asyncio.Task[QueuedTaskRecord]") -> None:
        self._body = body

    def is_for_one(self, execution: "asyncio.Task[object]", /) -> bool:
        return execution is self._body

    def holds(self, _: Place, /) -> bool:
        return False  # The worker id tells.

    def free(self, execution: "asyncio.Task[object]", place: Place, /) -> None:
        """There is nothing else to do in it."""


def _code_of(record: QueuedTaskRecord) -> CloudRunExitCode:
    if record.status is TaskStatus.COMPLETED:
        return CloudRunExitCode.SUCCESS
    if record.status is TaskStatus.CANCELLED:
        return CloudRunExitCode.CANCELLED
    if record.status is TaskStatus.FAILED and record.error and record.error.type == "UnknownTaskError":
        return CloudRunExitCode.UNKNOWN_TASK
    if record.status is TaskStatus.PENDING:
        snoozed = record.history and record.history[-1].event == "snoozed"
        return CloudRunExitCode.SUCCESS if snoozed else CloudRunExitCode.FAILURE
    return CloudRunExitCode.FAILURE if record.has_ended else CloudRunExitCode.CLAIM_LOST
