"""
From a reserved record to an execution: reserve, ask once, confirm.

The job's name is written before the call, so that a dispatcher that dies leaves a trace. After a certain refusal the
record goes back or to the fallback; after anything unclear it stays reserved, and reconciliation finds out.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from lq_cloudrun.asking import run_job
from lq_cloudrun.clients import JobsClient
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.executions import Executions
from lq_cloudrun.interruptions import failure_of_too_many
from lq_cloudrun.pacing import Lane
from lq_cloudrun.refusal import Refusal, refusal_of
from lq_cloudrun.status import log_url_of
from lq_cloudrun.target import Target, Targets, UnknownProfileError
from lq_core import lifecycle
from lq_core.attempt import failure_of
from lq_core.errors import QueueError, StorageError
from lq_core.event_log import event_log
from lq_core.execution import ExecutionService, get_execution_backend_class
from lq_core.record import QueuedTaskRecord, TaskFailure, TaskStatus

log = event_log("lq.cloudrun")

PATIENCE: Final = 2.0
"""Seconds that a reserved record waits here for its turn; one that would wait longer goes back to the queue."""


class Dispatcher:
    """Starts executions for records."""

    def __init__(
        self,
        config: CloudRunExecutionConfig,
        *,
        name: str,
        targets: Targets,
        client: Callable[[], Awaitable[JobsClient]],
        executions: Executions,
        lane: Callable[[str], Lane],
        build: Callable[[ExecutionService, QueuedTaskRecord], dict[str, Any]],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._name = name
        self._targets = targets
        self._client = client
        self._executions = executions
        self._lane = lane
        self._build = build
        self._clock = clock

    async def dispatch(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord:
        """
        Start an execution for a record, reserving it first when nobody has, and return it as it is kept.

        Raises StorageError when a pending record cannot be reserved; Google's errors end in the record or the log.
        """
        at_once = record.status is TaskStatus.PENDING
        if at_once:
            looked_after = None if _is_external(record.execution_backend) else self._name
            reserved = lifecycle.dispatch(record, at=service.queue_backend.now(), execution_backend=looked_after)
            if not await service.swap(record, reserved):
                return await _current(service, record)
            record = reserved
        if record.status is not TaskStatus.DISPATCHED:
            return record
        try:
            return await self._start(service, record, at_once=at_once)
        except StorageError as error:
            # Reserved it stays, until the container claims it or reconciliation has looked for its execution.
            log.warning("cloudrun.not_recorded", extra={**_facts(record), "error": str(error)})
            return record

    async def _start(self, service: ExecutionService, record: QueuedTaskRecord, *, at_once: bool) -> QueuedTaskRecord:
        config = self._config
        failure = failure_of_too_many(record, most=config.max_interruptions, timeout=config.timeout)
        if failure is not None:
            return await _fail(service, record, failure)
        try:
            target = self._targets.of(record)
            request = self._build(service, record)
        except UnknownProfileError as error:
            return await self._turn_away(service, record, error, pause=self._config.max_breaker_pause)
        except Exception as error:
            log.exception("cloudrun.request_failed", extra=_facts(record))
            return await _fail(service, record, failure_of(error))
        lane, now = self._lane(target.job), self._clock()
        wait = 0.0 if at_once else lane.wait(now)
        if wait > PATIENCE or (lane.is_full and not at_once):
            delay = lane.put_off(now)
            facts = {"job": target.job, "reason": lane.reason(now), "seconds": round(delay, 1)}
            log.info("cloudrun.put_off", extra={**_facts(record), **facts})
            return await _give_back(service, record, delay=delay, message=None)
        lane.take(now)
        if wait:
            await asyncio.sleep(wait)
        reserved = lifecycle.attach(record, execution_ref=target.job)
        if not await service.swap(record, reserved):
            lane.forget()
            return await _current(service, record)
        return await self._ask(service, reserved, request, target, lane)

    async def _ask(
        self,
        service: ExecutionService,
        record: QueuedTaskRecord,
        request: dict[str, Any],
        target: Target,
        lane: Lane,
    ) -> QueuedTaskRecord:
        try:
            execution = await run_job(await self._client(), request, timeout=self._config.rpc_timeout)
        except Exception as error:  # noqa: BLE001 -- whatever it was, what became of the call decides, not its class
            return await self._after(error, service, record, target, lane)
        lane.accepted()
        log.info("cloudrun.dispatched", extra={**_facts(record), "execution": execution.name})
        return await self._confirm(service, record, execution)

    async def _confirm(self, service: ExecutionService, record: QueuedTaskRecord, execution: Any) -> QueuedTaskRecord:
        confirmed = lifecycle.attach(record, execution_ref=execution.name, log_url=log_url_of(execution))
        if await service.swap(record, confirmed):
            return confirmed
        current = await _current(service, record)
        if current.execution_ref != execution.name and not _may_have_run(current):
            # Cancelled or taken over while the call was under way: nobody waits for this execution.
            log.info("cloudrun.unwanted", extra={**_facts(record), "execution": execution.name})
            await self._executions.stop(execution.name)
        return current

    async def _after(
        self, error: Exception, service: ExecutionService, record: QueuedTaskRecord, target: Target, lane: Lane
    ) -> QueuedTaskRecord:
        refusal = refusal_of(error)
        facts = {**_facts(record), "job": target.job, "error": f"{type(error).__name__}: {error}"}
        log.warning("cloudrun.run_job_failed", extra={**facts, "refusal": refusal.value})
        match refusal:
            case Refusal.UNKNOWN:
                return record
            case Refusal.TOO_FAST:
                pause = lane.slow_down(self._clock())
                message = f"the RunJob quota is used up; going on at {lane.rate:.0f} a minute"
                return await _give_back(service, record, delay=pause, message=message)
            case Refusal.MISCONFIGURED if self._config.fallback_execution_backend:
                lane.forget()
                return await self._turn_away(service, record, error, pause=0)
            case Refusal.MISCONFIGURED | Refusal.REFUSED:
                pause = lane.close(self._clock())
                return await _give_back(service, record, delay=pause, message=f"{target.job} was refused: {error}")

    async def _turn_away(
        self, service: ExecutionService, record: QueuedTaskRecord, error: Exception, *, pause: float
    ) -> QueuedTaskRecord:
        """Send a record that this configuration cannot run to the fallback; without one it waits to be mended."""
        fallback = self._config.fallback_execution_backend
        log.warning("cloudrun.turned_away", extra={**_facts(record), "fallback": fallback, "error": str(error)})
        if fallback is None:
            return await _give_back(service, record, delay=pause, message=str(error))
        at = service.queue_backend.now()
        elsewhere = lifecycle.reroute(record, execution_backend=fallback, at=at, message=str(error))
        return elsewhere if await service.swap(record, elsewhere) else await _current(service, record)


def _is_external(name: str) -> bool:
    """Whether workers look after dispatched records of an execution backend."""
    try:
        return get_execution_backend_class(name).external
    except (QueueError, ImportError):
        return False


async def _give_back(
    service: ExecutionService, record: QueuedTaskRecord, *, delay: float, message: str | None
) -> QueuedTaskRecord:
    later = delay * random.uniform(1, 1.25)  # noqa: S311 -- so that what was refused together does not come back together
    released = lifecycle.release(record, at=service.queue_backend.now(), delay=later, message=message)
    return released if await service.swap(record, released) else await _current(service, record)


async def _fail(service: ExecutionService, record: QueuedTaskRecord, failure: TaskFailure) -> QueuedTaskRecord:
    failed = lifecycle.retry_or_fail(record, failure=failure, delay=None, at=service.queue_backend.now())
    return failed if await service.swap(record, failed) else await _current(service, record)


async def _current(service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord:
    return await service.queue_backend.get(record.id) or record


def _may_have_run(record: QueuedTaskRecord) -> bool:
    return record.status in {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.RUNNING}


def _facts(record: QueuedTaskRecord) -> dict[str, object]:
    return {"record_id": str(record.id), "task_name": record.task_name, "epoch": record.epoch}
