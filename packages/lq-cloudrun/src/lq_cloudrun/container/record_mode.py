"""A container for one record: it connects, claims the record, runs it, and exits with a code for its outcome."""

import asyncio
import time
from contextlib import suppress
from typing import Final

from msgspec import Struct

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.container.claim import Claim, claim
from lq_cloudrun.container.environment import RecordContainer
from lq_cloudrun.container.queue_access import connect, reach
from lq_cloudrun.container.sigterm import unless_stopped
from lq_cloudrun.executions.status import CloudRunExitCode
from lq_core.attempts.attempt import StopReason
from lq_core.attempts.failure import failure_of
from lq_core.foundation.errors import QueueError, StorageError
from lq_core.foundation.event_log import event_log
from lq_core.presence.presence import Presence
from lq_core.records import lifecycle
from lq_core.records.backoff import retry_delay
from lq_core.records.history import passed_on
from lq_core.records.record import QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.service import QueueService

log = event_log("lq.cloudrun")

LAST_LOOK: Final = 2.0
"""Seconds to find out why the process is asked to stop; after SIGTERM there are fewer than ten."""

NEAR_THE_LIMIT: Final = 5.0
"""Seconds before the limit of the execution from which on SIGTERM means that its time is up."""


class RecordRun(Struct, kw_only=True):
    """One container with its record; *began* by ``time.monotonic()``, *stopping* is done after SIGTERM."""

    service: QueueService
    container: RecordContainer
    began: float
    stopping: "asyncio.Future[None]"
    presence: Presence | None = None

    async def perform(self) -> CloudRunExitCode:
        """Claim and run the record. Raises QueueError and OSError."""
        claimed = await unless_stopped(self._connect_and_claim(), self.stopping)
        if self.stopping.done():
            log.warning("cloudrun.stopped_early", extra=self.container.facts)
            if claimed is not None and claimed.record is not None:
                await self._release(claimed.record)
            return CloudRunExitCode.FAILURE
        assert claimed is not None
        if claimed.record is None:
            log.warning("cloudrun.not_claimed", extra={**self.container.facts, "reason": claimed.reason})
            return self._code(claimed.code)
        assert self.presence is not None
        return await self._run(claimed.record, self.presence)

    async def _connect_and_claim(self) -> Claim:
        began, seconds = time.monotonic(), self.container.connect_seconds
        self.presence = presence = await connect(self.service, seconds=seconds)
        # One claim for all tries: only this container decides about an answer that was lost.
        with presence.claiming():
            claimed = await reach(
                lambda: claim(self.service, self.container, worker_id=presence.worker_id),
                seconds=seconds - (time.monotonic() - began),
            )
            if claimed.record is not None:
                presence.hold(claimed.record)
        return claimed

    async def _release(self, record: QueuedTaskRecord) -> None:
        """Release a record that was claimed at the last moment."""
        if self.presence is not None:
            self.presence.drop(record)
        at = self.service.queue_backend.now()
        interrupted = lifecycle.interrupt(record, at=at, message="stopped before it began")
        after = lifecycle.cancel(record, at=at) if self._is_cancelled_from_outside else interrupted
        with suppress(QueueError, OSError):
            await self.service.swap(record, after)

    async def _run(self, record: QueuedTaskRecord, presence: Presence) -> CloudRunExitCode:
        facts = self.container.facts
        log.info("cloudrun.claimed", extra={**facts, "task_name": record.task_name, "attempt": record.attempt})
        running = presence.execute(record, presence.run)
        await asyncio.wait({running, self.stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            reason = await self._reason_to_stop(record)
            log.warning("cloudrun.stopping", extra={**facts, "reason": reason.value})
            presence.stop(reason)
        after = await running
        if after is None:
            return CloudRunExitCode.FAILURE
        message = after.error.message if after.error else ""
        log.info("cloudrun.ended", extra={**facts, "status": after.status.value, "reason": message})
        return self._code(_code_of(after, epoch=record.epoch))

    async def _reason_to_stop(self, record: QueuedTaskRecord) -> StopReason:
        """Find out what the outcome should say: cancelled, out of time, or only interrupted."""
        if self._is_cancelled_from_outside:
            return StopReason.CANCELLED
        try:
            async with asyncio.timeout(LAST_LOOK):
                current = await self.service.get(record.id)
        except (TimeoutError, StorageError):
            return StopReason.STOPPING
        if current is not None and current.cancel_requested:
            return StopReason.CANCELLED
        is_lost = current is not None and await self._record_timeout(current)
        return StopReason.LOST if is_lost else StopReason.STOPPING

    @property
    def _is_cancelled_from_outside(self) -> bool:
        """Whether SIGTERM came so early that somebody has cancelled the execution, and that cancels the record."""
        return time.monotonic() - self.began < self.container.cancel_within - NEAR_THE_LIMIT

    async def _record_timeout(self, record: QueuedTaskRecord) -> bool:
        """Fail a task that sets no timeout and has used up that of its execution: it would only do so again."""
        cloud = CloudRunExecutionConfig.of(self.service.config)
        if record.timeout is not None or cloud is None:
            return False
        if time.monotonic() - self.began < cloud.timeout - NEAR_THE_LIMIT:
            return False
        late = TimeoutError(f"The execution was ended after {cloud.timeout} s; give the task a timeout of its own.")
        delay, at = retry_delay(record, late), self.service.queue_backend.now()
        failed = lifecycle.retry_or_fail(record, failure=failure_of(late), delay=delay, at=at)
        return await self.service.swap(record, failed)

    def _code(self, code: CloudRunExitCode) -> CloudRunExitCode:
        """Exit with 0 under the policy ``recorded`` if a restart of the container could not help."""
        recorded = self.container.exits_well_when_recorded and code is not CloudRunExitCode.MISSING_RECORD
        return CloudRunExitCode.SUCCESS if recorded else code


def _code_of(record: QueuedTaskRecord, *, epoch: int) -> CloudRunExitCode:
    """Return the code for a record as it is stored after an attempt that began at *epoch*."""
    last = record.history[-1].event if record.history else ""
    if record.epoch != epoch + 1 or (record.status is TaskStatus.PENDING and last == "lost"):
        return CloudRunExitCode.CLAIM_LOST  # Another owner has it, whatever has become of it there.
    match record.status:
        case TaskStatus.COMPLETED:
            return CloudRunExitCode.SUCCESS
        case TaskStatus.CANCELLED:
            return CloudRunExitCode.CANCELLED
        case TaskStatus.FAILED if _is_unknown(record.error):
            return CloudRunExitCode.UNKNOWN_TASK
        case TaskStatus.PENDING if (entry := passed_on(record)) and _is_unknown(entry.failure):
            return CloudRunExitCode.UNKNOWN_TASK
        case TaskStatus.PENDING if last == "snoozed":
            return CloudRunExitCode.SUCCESS
        case _:
            return CloudRunExitCode.FAILURE


def _is_unknown(failure: TaskFailure | None) -> bool:
    return failure is not None and failure.type == "UnknownTaskError"
