"""Keeps one presence alive: its heartbeats, in the event loop and beside it, and the looks at its attempts."""

import asyncio
from collections.abc import Mapping

from lq_core.attempts.attempt import Attempt
from lq_core.presence.attempt_watch import Watch
from lq_core.presence.heartbeat import Heartbeat
from lq_core.presence.loop_watchdog import LoopWatchdog
from lq_core.presence.second_heartbeat import SecondHeartbeat
from lq_core.queue import BaseQueueBackend, ThreadHeartbeats
from lq_core.records.record import Fence


class Liveness:
    """What repeats as long as a presence is alive; *attempts* are the running ones."""

    def __init__(self, backend: BaseQueueBackend, heartbeat: Heartbeat, attempts: Mapping[Fence, Attempt]) -> None:
        self._heartbeat = heartbeat
        self._watch = Watch(backend, attempts)
        self._watchdog = LoopWatchdog(attempts)
        self._second: SecondHeartbeat | None = None
        if isinstance(backend, ThreadHeartbeats):
            interval = backend.config.heartbeat_interval
            self._second = SecondHeartbeat(backend, heartbeat, self._watchdog, interval=interval)
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Keep the registered worker alive; a second start replaces a loop that code of the application cancelled."""
        if not self._loops:
            self._watchdog.start()
            if self._second is not None:
                self._second.start()
        elif not self.is_ending:
            return
        for loop in self._loops:
            loop.cancel()
        watching = self._heartbeat.repeat("worker.watch_failed", self._watch.look, self._watch.wait)
        self._loops = [asyncio.create_task(loop) for loop in (self._heartbeat.keep_alive(), watching)]

    async def stop(self) -> None:
        """Let it lapse. You may stop twice."""
        if self._second is not None:
            self._second.stop()
        self._watchdog.stop()
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    @property
    def is_ending(self) -> bool:
        """Whether a loop was cancelled: the event loop ends, or the next start replaces it."""
        return any(loop.done() or loop.cancelling() for loop in self._loops)
