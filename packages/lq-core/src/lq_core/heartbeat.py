"""One small write keeps a worker alive, however many records it runs; its answer says when it is not."""

import asyncio
from collections.abc import MutableMapping
from typing import Final

from msgspec.structs import replace

from lq_core.attempt import Attempt, StopReason
from lq_core.errors import QueueError
from lq_core.event_log import event_log
from lq_core.identity import new_worker_id
from lq_core.queue import BaseQueueBackend, WorkerInfo
from lq_core.record import Place

log = event_log()

CANCEL_WATCH = 0.5
"""Seconds between two looks for running records that somebody has cancelled."""

DOUBLINGS: Final = 4
"""How often the pause between two looks doubles while they fail: 8 seconds at most."""

STUBBORN: Final = 5.0
"""Seconds after which the log tells of a task that was asked to stop and goes on."""

BLOCKED: Final = 1.0
"""Seconds for which a task may hold up the event loop, and with it the heartbeat, before the log says so."""

Attempts = MutableMapping[Place, Attempt]
"""The attempts that run in this process, by record id and epoch."""


class Heartbeat:
    """
    Registers a worker, keeps it alive, and stops attempts that were cancelled or lost.

    When the queue backend has declared the worker dead, everything it runs belongs to others: it is stopped, and
    the worker goes on under a new id.
    """

    def __init__(self, backend: BaseQueueBackend, info: WorkerInfo, attempts: Attempts) -> None:
        self._backend = backend
        self._info = info
        self._attempts = attempts
        self._tasks: list[asyncio.Task[None]] = []
        self._reviving = asyncio.Lock()

    @property
    def worker_id(self) -> str:
        """The id under which the worker claims now."""
        return self._info.id

    async def start(self) -> None:
        """Register the worker and begin to beat."""
        await self._backend.register(self._info)
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._watch_cancels())]

    async def stop(self) -> None:
        """Stop beating and forget the worker, so that what it leaves behind is taken over at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        try:
            await self._backend.retire(self.worker_id)
        except QueueError as error:
            log.warning("worker.not_retired", extra={"worker_id": self.worker_id, "error": str(error)})

    async def revive(self, dead: str) -> None:
        """Go on under a new id, after *dead* has been declared dead; nothing to do if another has seen to it."""
        async with self._reviving:
            if self._info.id != dead:
                return
            for attempt in list(self._attempts.values()):
                if attempt.record.worker_id == dead:
                    attempt.stop(StopReason.LOST)
            reborn = replace(self._info, id=new_worker_id(), seen_at=self._backend.now())
            await self._backend.register(reborn)
            self._info = reborn
        log.warning("worker.declared_dead", extra={"worker_id": dead, "new_worker_id": reborn.id})

    async def _beat(self) -> None:
        interval, failures = self._backend.config.heartbeat_interval, 0
        while True:
            await asyncio.sleep(interval)
            try:
                beating = self.worker_id
                if not await self._backend.beat(beating):
                    await self.revive(beating)
                failures = 0
            except Exception as error:  # noqa: BLE001 -- whatever it is, the next beat tries again
                failures += 1
                self._tell_of_failure("worker.beat_failed", error, failures)

    async def _watch_cancels(self) -> None:
        failures = 0
        while True:
            await self._sleep_and_tell_of_blocking(CANCEL_WATCH * 2 ** min(failures, DOUBLINGS))
            if not self._attempts:
                continue
            self._tell_of_the_stubborn()
            try:
                for record in await self._backend.cancel_requests():
                    attempt = self._attempts.get((record.id, record.epoch))
                    if attempt is not None:
                        attempt.stop(StopReason.CANCELLED)
                failures = 0
            except Exception as error:  # noqa: BLE001 -- whatever it is, the next look tries again
                failures += 1
                self._tell_of_failure("worker.watch_failed", error, failures)

    def _tell_of_failure(self, event: str, error: Exception, failures: int) -> None:
        """Log with the traceback the first time, and then in one line: a database may be away for hours."""
        facts = {"worker_id": self.worker_id, "error": f"{type(error).__name__}: {error}", "failures": failures}
        log.warning(event, extra=facts, exc_info=failures == 1)

    def _tell_of_the_stubborn(self) -> None:
        for attempt in [each for each in self._attempts.values() if each.overstays(STUBBORN)]:
            facts = {"task_name": attempt.record.task_name, "record_id": str(attempt.record.id)}
            log.warning("task.does_not_stop", extra={**facts, "asked": str(attempt.stop_reason), "seconds": STUBBORN})

    async def _sleep_and_tell_of_blocking(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        await asyncio.sleep(seconds)
        late = loop.time() - due
        if late > BLOCKED:
            running = sorted({attempt.record.task_name for attempt in self._attempts.values()})
            log.warning("worker.event_loop_blocked", extra={"seconds": round(late, 3), "running": running})
