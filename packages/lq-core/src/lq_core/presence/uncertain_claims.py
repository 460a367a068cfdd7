"""
Compares the records that the store assigns to this worker with those that it holds, and releases the others.

A claim is uncertain if its answer never arrived. If it took a record, no worker runs that record, and no other worker
rescues it, because its owner is alive.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import count
from typing import Final

from lq_core.foundation.errors import OwnershipLostError
from lq_core.foundation.event_log import event_log
from lq_core.foundation.stray_cancellation import raise_if_cancelled
from lq_core.queue import BaseQueueBackend
from lq_core.records import lifecycle
from lq_core.records.record import Fence, QueuedTaskRecord, TaskFailure

log = event_log()

PAUSES: Final = (0.05, 0.2, 1.0, 3.0, 5.0, 5.0)
"""Seconds before each look after an uncertain claim; after the last look, the claim cannot take effect any more."""

NOT_RECORDED: Final = TaskFailure(type="OutcomeNotRecorded", message="Its outcome could not be recorded.")


class Audit:
    """
    Finds the records of a worker that it does not run.

    It looks only after an uncertain claim, because a look can read the whole table. It ignores a record while an
    unanswered claim may have taken it.
    """

    def __init__(
        self,
        backend: BaseQueueBackend,
        *,
        worker_id: Callable[[], str],
        held: Callable[[], AbstractSet[Fence]],
        swap: Callable[[QueuedTaskRecord, QueuedTaskRecord], Awaitable[bool]],
    ) -> None:
        self._backend = backend
        self._worker_id = worker_id
        self._held = held
        self._swap = swap
        self._looks = 0
        """The number of looks since the last uncertain claim."""

        self._looking: asyncio.Task[None] | None = None
        self._closed = False
        self._numbers = count()
        self._unanswered: set[int] = set()
        self._suspects: dict[Fence, AbstractSet[int]] = {}
        """The missing records of the last look, and the unanswered claims that may have taken them."""

        self._not_recorded: set[Fence] = set()

    @contextmanager
    def claiming(self) -> Generator[None]:
        """Surround a claim, which is uncertain if it raises anything but OwnershipLostError."""
        number = next(self._numbers)
        self._unanswered.add(number)
        try:
            yield
        except OwnershipLostError:
            raise
        except BaseException:
            self.look_soon()
            raise
        finally:
            self._unanswered.discard(number)

    def note_unrecorded(self, fence: Fence) -> None:
        """Note that the outcome of an attempt may not be recorded; if it is not, the record counts a loss."""
        self._not_recorded.add(fence)
        self.look_soon()

    def look_soon(self) -> None:
        """Look several times from now on, because a claim is uncertain."""
        self._looks = 0
        if self._looking is None and not self._closed:
            self._looking = asyncio.create_task(self._look_repeatedly())
            self._looking.add_done_callback(self._note_end)

    def _note_end(self, looking: asyncio.Task[None]) -> None:
        """Let the next uncertain claim start new looks if this one was cancelled before it began."""
        if self._looking is looking:
            self._looking = None

    async def close(self) -> None:
        """Stop looking, for ever."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look_repeatedly(self) -> None:
        failures = 0
        try:
            while self._looks < len(PAUSES):
                await asyncio.sleep(PAUSES[min(self._looks + failures, len(PAUSES) - 1)])
                self._looks += 1
                try:
                    await self._look()
                    failures = 0
                except (Exception, asyncio.CancelledError) as error:
                    raise_if_cancelled(error)
                    self._looks -= min(self._looks, 1)
                    failures += 1
                    facts = {"worker_id": self._worker_id(), "error": f"{type(error).__name__}: {error}"}
                    log.warning("worker.audit_failed", extra={**facts, "failures": failures}, exc_info=failures == 1)
            self._not_recorded.clear()
        finally:
            self._looking = None

    async def _look(self) -> None:
        """Release the records that the store assigns to this worker and that it does not hold."""
        owned = await self._backend.owned(self._worker_id())
        suspects: dict[Fence, AbstractSet[int]] = {}
        held, unanswered = self._held(), frozenset(self._unanswered)
        for record in [record for record in owned if (record.id, record.epoch) not in held]:
            fence = record.id, record.epoch
            if claims := self._suspects.get(fence, unanswered) & self._unanswered:
                suspects[fence] = claims
            else:
                await self._release(record)
        self._suspects = suspects

    async def _release(self, record: QueuedTaskRecord) -> None:
        at = self._backend.now()
        if (record.id, record.epoch) in self._not_recorded:
            after = lifecycle.lose(record, failure=NOT_RECORDED, at=at)
        else:
            after = lifecycle.interrupt(record, at=at, message="the answer to its claim was lost")
        if await self._swap(record, after):
            log.warning("record.released", extra={"record_id": str(record.id), "epoch": record.epoch})
