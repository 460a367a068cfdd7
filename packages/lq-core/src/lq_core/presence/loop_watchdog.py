"""Reports a task that blocks the event loop, while it blocks it."""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Final

from lq_core.attempts import attempt as attempts_module
from lq_core.attempts.attempt import Attempt
from lq_core.foundation.event_log import event_log
from lq_core.presence.ticker import Ticker
from lq_core.records.record import Fence

log = event_log()

TICK: Final = 0.25
"""Seconds between two looks at the event loop."""

BLOCKED: Final = 1.0
"""Seconds for which a task can block the event loop before the log reports it; each further report takes twice as
long as the one before."""

FRAMES: Final = 30
"""How many frames of the stack the log shows."""


class LoopWatchdog:
    """
    Watches the event loop from a thread, for the attempts of one presence.

    It is silent while none of *attempts* runs, because the application may block its own event loop.
    """

    def __init__(self, attempts: Mapping[Fence, Attempt]) -> None:
        self._attempts = attempts
        self._asked_at: float | None = None
        """When the event loop was asked for an answer that is still missing."""

        self._next_report = BLOCKED
        self._ticker: Ticker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self.is_over = False
        """Whether the event loop is blocked by a task whose timeout is over, which nobody can stop."""

    def start(self) -> None:
        """Watch the running event loop, which runs in this thread."""
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
        self._ticker = Ticker(self._look, name="lq loop watchdog", interval=TICK)
        self._ticker.start()

    def stop(self) -> None:
        """Stop watching."""
        if self._ticker is not None:
            self._ticker.stop()

    @property
    def is_running(self) -> bool:
        """Whether the event loop runs; one that was left without an end beats no more."""
        return self._loop is not None and self._loop.is_running()

    def _look(self) -> bool:
        loop, asked_at = self._loop, self._asked_at
        if loop is None or loop.is_closed():
            return False
        if asked_at is None:
            self._asked_at, self._next_report, self.is_over = time.monotonic(), BLOCKED, False
            loop.call_soon_threadsafe(self._answer)
        elif (seconds := time.monotonic() - asked_at) >= self._next_report:
            self._next_report *= 2
            self._report(loop, seconds)
        return True

    def _answer(self) -> None:
        self._asked_at = None

    def _report(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        frame, current, running = (
            _frame_of(self._loop_thread),
            asyncio.current_task(loop),
            list(self._attempts.values()),
        )
        blocking = [attempt for attempt in running if attempt.body is current] or running
        if not blocking or frame is None:
            return
        names = sorted({attempt.record.task_name for attempt in blocking})
        facts = {"running": names, "seconds": round(seconds, 3)}
        log.warning("worker.event_loop_blocked", extra={**facts, "stack": _stack(frame)})
        for late in (attempt for attempt in blocking if attempt.is_late() and len(blocking) == 1):
            self.is_over = True
            facts = {"task_name": late.record.task_name, "record_id": str(late.record.id)}
            log.warning("task.does_not_stop", extra={**facts, "asked": "timed out", "timeout": late.record.timeout})


def _frame_of(thread: int) -> FrameType | None:
    frames = sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- Python shows no thread otherwise
    return frames.get(thread)


def _stack(frame: FrameType) -> str:
    """Write the innermost frames, without those of the event loop and of lq around the task."""
    frames = traceback.extract_stack(frame)
    ours = [place for place, one in enumerate(frames) if one.filename == attempts_module.__file__]
    return "".join(traceback.format_list(frames[ours[-1] + 1 if ours else 0 :][-FRAMES:])).rstrip()
