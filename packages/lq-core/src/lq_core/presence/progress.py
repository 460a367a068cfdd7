"""Writes the progress reports of running tasks; it merges quick reports."""

import asyncio
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from lq_core.attempts.attempt import Attempt, StopReason
from lq_core.foundation.event_log import event_log
from lq_core.queue import BaseQueueBackend, Swap
from lq_core.records import lifecycle
from lq_core.records.record import Fence, Progress

log = event_log()

INTERVAL: Final = 0.25
"""Seconds between two writes of progress."""


class ProgressReports:
    """The progress reports of one presence; *attempts* are the running ones."""

    def __init__(self, backend: BaseQueueBackend, attempts: Mapping[Fence, Attempt]) -> None:
        self._backend = backend
        self._attempts = attempts
        self._unwritten: set[Attempt] = set()
        self._writer: asyncio.Task[None] | None = None

    async def report(self, fence: Fence, said: Progress | str) -> None:
        """Accept a report; it is written soon, or with the outcome."""
        attempt = self._attempts.get(fence)
        if attempt is None:
            return  # An abandoned thread reports.
        if isinstance(said, Progress):
            attempt.record = replace(attempt.record, progress=said)
        else:
            attempt.record = lifecycle.note(attempt.record, message=said, at=self._backend.now())
        if attempt.completed is not None:
            return  # The write would wait for the transaction of the task, and then be refused.
        self._unwritten.add(attempt)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
            self._writer.add_done_callback(self._note_end)

    def _note_end(self, writer: asyncio.Task[None]) -> None:
        """Let the next report begin anew if the writer was cancelled before it began."""
        if self._writer is writer:
            self._writer = None

    def discard(self, attempt: Attempt) -> None:
        """Write no more reports of an attempt, because its outcome includes them."""
        self._unwritten.discard(attempt)

    async def close(self) -> None:
        """Stop writing."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _write_all(self) -> None:
        try:
            while self._unwritten:
                reporting = list(self._unwritten)
                self._unwritten.clear()
                swaps = [Swap(record=attempt.record, epoch=attempt.record.epoch) for attempt in reporting]
                try:
                    kept = await self._backend.swap(swaps)
                except Exception:
                    log.warning("record.progress_failed", exc_info=True)
                else:
                    for attempt, mine in zip(reporting, kept, strict=True):
                        if not mine and attempt.completed is None:
                            attempt.stop(StopReason.LOST)
                await asyncio.sleep(INTERVAL)
        finally:
            self._writer = None
