"""
From a record to an execution: reserve the record, start an execution once, confirm its name.

The job's name is written before the call, so that a dispatcher that dies leaves a trace. After a certain refusal the
record is released or goes to the fallback. After an unclear error it stays reserved, and the reconciler finds out.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from lq_cloudrun.dispatch.pacer import Pacer, Pacers
from lq_cloudrun.executions.executions import Executions, NotStartedError
from lq_cloudrun.executions.request import failure_of_too_many
from lq_cloudrun.executions.status import log_url_of
from lq_cloudrun.executions.target import UnknownProfileError
from lq_cloudrun.google.refusal import Refusal
from lq_core.attempts.failure import failure_of
from lq_core.execution import ExecutionService, get_execution_backend_class
from lq_core.foundation.errors import QueueError, StorageError
from lq_core.foundation.event_log import event_log
from lq_core.records import lifecycle
from lq_core.records.record import QueuedTaskRecord, TaskFailure, TaskStatus

log = event_log("lq.cloudrun")

PATIENCE: Final = 2.0
"""Seconds that a reserved record waits here for its turn. If it would wait longer, it is released."""


class Dispatcher(Struct, kw_only=True):
    """Starts executions for records, with the request that *build* makes."""

    executions: Executions
    pacers: Pacers
    build: Callable[[ExecutionService, QueuedTaskRecord], dict[str, Any]]

    async def dispatch(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord:
        """
        Start an execution for a record, reserve the record first if it is pending, and return what the queue has.

        A record that no worker would start is returned as it is: one that waits for others, is overdue, whose queue is
        paused, or that has an execution.

        Raises StorageError if a pending record cannot be reserved. Google's errors end in the record or the log.
        """
        at_once = record.status is TaskStatus.PENDING
        if at_once:
            if (reason := await _reason_to_wait(service, record)) is not None:
                log.warning("cloudrun.not_dispatched", extra={**_facts(record), "reason": reason})
                return record
            looked_after = None if _is_external(record.execution_backend) else self.pacers.name
            reserved = lifecycle.dispatch(record, at=service.queue_backend.now(), execution_backend=looked_after)
            record = await _keep(service, record, reserved)
            if record is not reserved:
                return record
        if record.status is not TaskStatus.DISPATCHED or record.execution_ref is not None:
            # With a reference, its call was made: a second one would start a second execution.
            return record
        try:
            return await self._start(service, record, at_once=at_once)
        except StorageError as error:
            # The record stays reserved until the container claims it or the reconciler has looked for its execution.
            log.warning("cloudrun.not_recorded", extra={**_facts(record), "error": str(error)})
            return record

    async def _start(self, service: ExecutionService, record: QueuedTaskRecord, *, at_once: bool) -> QueuedTaskRecord:
        config = self.executions.config
        failure = failure_of_too_many(record, most=config.max_interruptions, timeout=config.timeout)
        if failure is not None:
            return await _fail(service, record, failure)
        try:
            job = self.executions.targets.of(record).job
            request = self.build(service, record)
        except UnknownProfileError as error:
            # It never falls back: a misspelt profile asks for a job, and not for this process.
            log.warning("cloudrun.unknown_profile", extra={**_facts(record), "error": str(error)})
            return await _release(service, record, delay=config.max_breaker_pause, message=str(error))
        except Exception as error:
            log.exception("cloudrun.request_failed", extra=_facts(record))
            return await _fail(service, record, failure_of(error))
        pacer, now = self.pacers.by_job[job], time.monotonic()
        wait = 0.0 if at_once else pacer.wait(now)
        if wait > PATIENCE or (pacer.is_full and not at_once):
            delay = pacer.put_off(now)
            facts = {"job": job, "reason": pacer.reason(now), "seconds": round(delay, 1)}
            log.info("cloudrun.put_off", extra={**_facts(record), **facts})
            return await _release(service, record, delay=delay, message=None)
        pacer.take(now)
        if wait:
            await asyncio.sleep(wait)
        reserved = lifecycle.attach(record, execution_ref=job)
        kept = await _keep(service, record, reserved)
        if kept is not reserved:
            pacer.forget()
            return kept
        try:
            execution = await self.executions.start(request, **_facts(reserved), job=job)
        except NotStartedError as failed:
            return await self._after(failed, service, reserved, job, pacer)
        pacer.accepted()
        log.info("cloudrun.dispatched", extra={**_facts(reserved), "execution": execution.name})
        return await self._confirm(service, reserved, execution)

    async def _confirm(self, service: ExecutionService, record: QueuedTaskRecord, execution: Any) -> QueuedTaskRecord:
        confirmed = lifecycle.attach(record, execution_ref=execution.name, log_url=log_url_of(execution))
        current = await _keep(service, record, confirmed)
        may_have_run = current.status in {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.RUNNING}
        if current.execution_ref != execution.name and not may_have_run:
            # The record was cancelled or rescued during the call, so that no one waits for this execution.
            log.info("cloudrun.unwanted", extra={**_facts(record), "execution": execution.name})
            await self.executions.stop(execution.name)
        return current

    async def _after(
        self, failed: NotStartedError, service: ExecutionService, record: QueuedTaskRecord, job: str, pacer: Pacer
    ) -> QueuedTaskRecord:
        falls_back = self._falls_back(record)
        pause = pacer.refused(failed.refusal, time.monotonic(), began=failed.began, falls_back=falls_back)
        match failed.refusal:
            case Refusal.UNKNOWN:
                return record
            case Refusal.TOO_FAST:
                message = f"the RunJob quota is used up; the rate is now {pacer.rate:.0f} per minute"
            case Refusal.MISCONFIGURED if not pause:
                return await self._reroute(service, record, failed.error)
            case Refusal.MISCONFIGURED if falls_back:
                message = f"{job} was refused: {failed}; if it is refused again, another backend gets the record"
            case Refusal.MISCONFIGURED | Refusal.REFUSED:
                message = f"{job} was refused: {failed}"
        return await _release(service, record, delay=pause, message=message)

    def _falls_back(self, record: QueuedTaskRecord) -> bool:
        """Whether the configuration lets another backend run a record that its job cannot run."""
        config = self.executions.config
        has_fallback = config.fallback_execution_backend is not None
        return has_fallback and (record.execution_profile is None or config.profiles_fall_back)

    async def _reroute(self, service: ExecutionService, record: QueuedTaskRecord, error: Exception) -> QueuedTaskRecord:
        """Send a record that its job cannot run to the fallback."""
        fallback = self.executions.config.fallback_execution_backend
        assert fallback is not None
        log.warning("cloudrun.turned_away", extra={**_facts(record), "fallback": fallback, "error": str(error)})
        at = service.queue_backend.now()
        elsewhere = lifecycle.reroute(record, execution_backend=fallback, at=at, message=str(error))
        return await _keep(service, record, elsewhere)


async def _reason_to_wait(service: ExecutionService, record: QueuedTaskRecord) -> str | None:
    """Say why no worker would start a pending record now, whatever its time; None if one would."""
    if not lifecycle.can_be_started(record, at=service.queue_backend.now()):
        return "it waits for others, is to be cancelled, or is overdue"
    state = (await service.queue_backend.queues()).get(record.queue)
    return f"the queue {record.queue!r} is paused" if state is not None and state.paused else None


def _is_external(name: str) -> bool:
    """Whether workers look after dispatched records of an execution backend."""
    try:
        return get_execution_backend_class(name).external
    except (QueueError, ImportError):
        return False


async def _release(
    service: ExecutionService, record: QueuedTaskRecord, *, delay: float, message: str | None
) -> QueuedTaskRecord:
    later = delay * random.uniform(1, 1.25)  # noqa: S311 -- records that were refused together come back apart
    released = lifecycle.release(record, at=service.queue_backend.now(), delay=later, message=message)
    return await _keep(service, record, released)


async def _fail(service: ExecutionService, record: QueuedTaskRecord, failure: TaskFailure) -> QueuedTaskRecord:
    failed = lifecycle.retry_or_fail(record, failure=failure, delay=None, at=service.queue_backend.now())
    return await _keep(service, record, failed)


async def _keep(service: ExecutionService, record: QueuedTaskRecord, after: QueuedTaskRecord) -> QueuedTaskRecord:
    """Swap *record* for *after*, and return *after*, or else the record that the queue has."""
    return after if await service.swap(record, after) else await service.queue_backend.get(record.id) or record


def _facts(record: QueuedTaskRecord) -> dict[str, object]:
    return {"record_id": str(record.id), "task_name": record.task_name, "epoch": record.epoch}
