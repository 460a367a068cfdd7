"""Beats from a thread when the event loop does not, so that a task that blocks the loop keeps its worker alive."""

import time
from typing import Final

from lq_core.foundation.event_log import event_log
from lq_core.presence.heartbeat import Heartbeat
from lq_core.presence.loop_watchdog import LoopWatchdog
from lq_core.presence.ticker import Ticker
from lq_core.queue.capabilities import ThreadHeartbeats

log = event_log()

LATE: Final = 1.25
"""After how many heartbeat intervals a heartbeat of the event loop is late."""


class SecondHeartbeat:
    """
    Stores the heartbeats that are late, through a store that can do so from a thread.

    It ends when a task blocks the event loop longer than its timeout: other workers then rescue the records.
    """

    def __init__(self, store: ThreadHeartbeats, first: Heartbeat, watchdog: LoopWatchdog, *, interval: float) -> None:
        self._store = store
        self._first = first
        self._watchdog = watchdog
        self._interval = interval
        self._failures = 0
        self._ticker: Ticker | None = None

    def start(self) -> None:
        """Watch the heartbeats of the event loop from now on."""
        self._ticker = Ticker(self._beat_if_late, name="lq heartbeat", interval=self._interval / 4)
        self._ticker.start()

    def stop(self) -> None:
        """Stop beating."""
        if self._ticker is not None:
            self._ticker.stop()

    def _beat_if_late(self) -> bool:
        began, first = time.monotonic(), self._first
        if not self._watchdog.is_running:
            return False
        if (
            began - first.beaten_at < LATE * self._interval
            or not first.is_registered.is_set()
            or self._watchdog.is_over
        ):
            return True
        try:
            # If the worker has lapsed, its own next heartbeat notices it.
            if self._store.beat_from_thread(first.worker_id):
                first.beaten_at = max(first.beaten_at, began)
            self._failures = 0
        except Exception as error:  # noqa: BLE001 -- the next step beats again, whatever the database raised
            self._failures += 1
            if self._failures.bit_count() == 1:  # The 1st, 2nd, 4th, 8th failure in a row.
                facts = {"worker_id": first.worker_id, "error": f"{type(error).__name__}: {error}"}
                log.warning("worker.beat_failed", extra={**facts, "failures": self._failures})
        return True
