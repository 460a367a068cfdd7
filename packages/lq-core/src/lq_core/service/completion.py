"""Waits for records to end: this process announces the records that it ends, and polls for the others."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain, islice
from uuid import UUID

from lq_core.foundation.errors import QueueError, RecordNotFoundError, StorageError, WaitTimeoutError
from lq_core.records.history import passed_on
from lq_core.records.record import QueuedTaskRecord

FIRST_POLL = 0.002
"""Seconds to the first look at the database; each pause is 1.5 times as long as the last, up to the poll interval."""

PATIENCE = 30
"""How many looks in a row can fail before the waiters get the error."""

LOOK_LIMIT = 500
"""How many records one look reads; if there are more, they take turns."""

CANCELLED = "The wait for record {} was cancelled with an asyncio task of lq; the record continues. Wait again."


class Completions:
    """The waiters for records, and one poll for all of them."""

    def __init__(
        self, read: Callable[[Sequence[UUID]], Awaitable[Sequence[QueuedTaskRecord]]], *, poll_interval: float
    ) -> None:
        self._read = read
        self._poll_interval = poll_interval
        self._waiting: dict[UUID, set[asyncio.Future[QueuedTaskRecord]]] = {}
        self._poll: asyncio.Task[None] | None = None
        self._pause = FIRST_POLL
        self._failures = 0
        self._hurry = asyncio.Event()

    def announce(self, record: QueuedTaskRecord) -> None:
        """Answer the waiters for a record if it has ended."""
        if self._waiting and record.has_ended:
            for waiter in self._waiting.pop(record.id, ()):
                if not waiter.done():
                    waiter.set_result(record)

    async def wait(self, record_id: UUID, *, timeout: float | None) -> QueuedTaskRecord:
        """
        Return a record when it has ended.

        Raises WaitTimeoutError after *timeout* seconds, RecordNotFoundError if the record does not exist (any more).
        """
        waiter: asyncio.Future[QueuedTaskRecord] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(record_id, set()).add(waiter)
        self._pause = FIRST_POLL
        self._hurry.set()
        if self._poll is None:
            self._poll = asyncio.create_task(self._poll_all())
            self._poll.add_done_callback(self._note_end)
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            found = await self._read([record_id])
            if not found:
                raise RecordNotFoundError(record_id) from None
            if found[0].has_ended:
                return found[0]
            late = WaitTimeoutError(record_id, found[0].status, timeout or 0.0)
            if (entry := passed_on(found[0])) and entry.failure:
                late.add_note(f"It waits for another worker: {entry.failure.message}")
            raise late from None
        finally:
            waiters = self._waiting.get(record_id)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiting[record_id]

    async def close(self) -> None:
        """Stop the poll, and refuse the remaining waiters."""
        self._refuse_all("The QueueService was closed while you waited for record {}; the record continues.")
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.gather(self._poll, return_exceptions=True)

    async def _poll_all(self) -> None:
        try:
            while self._waiting:
                self._hurry.clear()
                await self._look()
                self._pause = min(self._pause * 1.5, self._poll_interval)
                try:
                    async with asyncio.timeout(self._pause):
                        await self._hurry.wait()
                except TimeoutError:
                    pass
        finally:
            self._poll = None
            self._refuse_all(CANCELLED)  # Nobody waits, unless it was cancelled, or its event loop ends.

    def _note_end(self, poll: asyncio.Task[None]) -> None:
        """Refuse the waiters of a poll that was cancelled before it began."""
        if self._poll is poll:
            self._poll = None
            self._refuse_all(CANCELLED)

    def _refuse_all(self, told: str) -> None:
        for record_id, waiters in self._waiting.items():
            _refuse(waiters, QueueError(told.format(record_id)))

    async def _look(self) -> None:
        # A waiter that comes during the look is not answered by it: its record may have been retried by hand meanwhile.
        asked = {record_id: list(self._waiting[record_id]) for record_id in islice(self._waiting, LOOK_LIMIT)}
        try:
            found = {record.id: record for record in await self._read(list(asked))}
        except StorageError as error:
            self._failures += 1
            if self._failures >= PATIENCE:
                _refuse(chain(*asked.values()), error)
            return
        except Exception as error:  # noqa: BLE001 -- the waiters get it, and nothing else reports it
            _refuse(chain(*asked.values()), error)
            return
        self._failures = 0
        for record_id in asked.keys() - found.keys():
            _refuse(asked[record_id], RecordNotFoundError(record_id))
        for record in found.values():
            for waiter in asked[record.id] if record.has_ended else ():
                if not waiter.done():
                    waiter.set_result(record)
            if record.id in self._waiting:  # The others have their turn next.
                self._waiting[record.id] = self._waiting.pop(record.id)


def _refuse(waiters: Iterable[asyncio.Future[QueuedTaskRecord]], error: Exception) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)
