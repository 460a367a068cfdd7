"""The liveness of one worker: small regular writes, independent of the number of its records."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace

from lq_core.foundation.errors import QueueError
from lq_core.foundation.event_log import event_log
from lq_core.foundation.stray_cancellation import raise_if_cancelled
from lq_core.presence.process_lock import ProcessLock
from lq_core.queue import BaseQueueBackend, WorkerInfo
from lq_core.records.identity import new_worker_id

log = event_log()


class Heartbeat:
    """
    Registers a worker and keeps it alive.

    If the worker has lapsed, its records can have new owners. The worker then continues under a new id, and *lapsed*
    is called with the old and the new id.
    """

    def __init__(self, backend: BaseQueueBackend, info: WorkerInfo, *, lapsed: Callable[[str, str], None]) -> None:
        self._backend = backend
        self._info = info
        self._lapsed = lapsed
        self._registering = asyncio.Lock()
        self._process_lock = ProcessLock()
        self._shows_death = False
        self._takes_records = True
        self.is_registered: Final = asyncio.Event()
        self.beaten_at = 0.0
        """The moment before the last stored heartbeat, by ``time.monotonic``."""

    @property
    def worker_id(self) -> str:
        """The current id of the worker."""
        return self._info.id

    async def register(self, *, in_container: bool = False) -> None:
        """Register the worker, once; its process shows on this host that it lives, unless it is *in_container*."""
        async with self._registering:
            if not self.is_registered.is_set():
                self._shows_death = self._backend.shared and not in_container
                await self._register(self._info.id)
                self.is_registered.set()

    async def beat(self) -> None:
        """Store that the worker is alive; register it again if it has lapsed."""
        worker_id, began = self.worker_id, time.monotonic()
        if await self._backend.beat(worker_id):
            self.beaten_at = max(self.beaten_at, began)
        else:
            await self.register_again(worker_id)

    async def register_again(self, dead: str) -> None:
        """Continue under a new id, unless *dead* is an old id already."""
        async with self._registering:
            if self._info.id != dead:
                return
            if not self.is_registered.is_set():
                raise QueueError(f"The worker {dead} has been retired.")
            new = new_worker_id()
            self._lapsed(dead, new)
            await self._register(new)
        log.warning("worker.declared_dead", extra={"worker_id": dead, "new_worker_id": self.worker_id})

    async def give_up(self) -> None:
        """Continue under a new id that takes no records, so that other workers rescue the records of the old one."""
        async with self._registering:
            dead, new = self._info.id, new_worker_id()
            await self._backend.retire(dead)
            self._takes_records = False
            self._lapsed(dead, new)
            await self._register(new)

    async def recover(self) -> None:
        """Take records again."""
        async with self._registering:
            self._takes_records = True
            await self._register(self._info.id)

    async def retire(self) -> None:
        """Delete the worker, so that others rescue its records at once."""
        if not self.is_registered.is_set():
            return
        self.is_registered.clear()
        try:
            await self._backend.retire(self.worker_id)
            self._process_lock.release()
        except QueueError as error:
            log.warning("worker.not_retired", extra={"worker_id": self.worker_id, "error": str(error)})

    async def keep_alive(self) -> None:
        """Beat until cancelled."""
        interval = self._backend.config.heartbeat_interval
        await self.repeat("worker.beat_failed", self.beat, lambda _: asyncio.sleep(interval))

    async def repeat(
        self, event: str, step: Callable[[], Awaitable[None]], wait: Callable[[int], Awaitable[None]]
    ) -> None:
        """Wait and take a step, endlessly; *wait* gets the number of failures in a row. Log each failure as *event*."""
        failures = 0
        while True:
            await wait(failures)
            try:
                await step()
                failures = 0
            except (Exception, asyncio.CancelledError) as error:
                raise_if_cancelled(error)
                failures += 1
                facts = {"worker_id": self.worker_id, "error": f"{type(error).__name__}: {error}", "failures": failures}
                log.warning(event, extra=facts, exc_info=failures == 1)

    async def _register(self, worker_id: str) -> None:
        now, began = self._backend.now(), time.monotonic()
        info = replace(self._info, id=worker_id, seen_at=now)
        if self._shows_death:
            self._process_lock.take(worker_id)
        await self._backend.register(info if self._takes_records else replace(info, concurrency=0))
        self._info, self.beaten_at = info, began
