"""Waiting for records to end: at once when this process ends them, by polling when another one does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from uuid import UUID

from lq_core.errors import QueueError, RecordNotFoundError, StorageError, WaitTimeoutError
from lq_core.record import QueuedTaskRecord

FIRST_POLL = 0.002
"""Seconds to the first look at the database; each look waits half again as long, up to the poll interval."""


PATIENCE = 30
"""How many looks in a row may fail before those who wait are told that the database is away."""

LOOK_LIMIT = 500
"""How many records one look reads; with more, they take turns."""


class Completions:
    """Those who wait for records to end, and the one poll that serves them all."""

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
        """Tell whoever waits for a record that it has ended; other records are of no interest."""
        if self._waiting and record.has_ended:
            for waiter in self._waiting.pop(record.id, ()):
                if not waiter.done():
                    waiter.set_result(record)

    async def wait(self, record_id: UUID, *, timeout: float | None) -> QueuedTaskRecord:
        """
        Return a record when it has ended.

        Raises WaitTimeoutError after *timeout* seconds, RecordNotFoundError when there is no such record (any more).
        """
        waiter: asyncio.Future[QueuedTaskRecord] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(record_id, set()).add(waiter)
        self._pause = FIRST_POLL
        self._hurry.set()
        if self._poll is None:
            self._poll = asyncio.create_task(self._poll_all())
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            found = await self._read([record_id])
            if not found:
                raise RecordNotFoundError(record_id) from None
            if found[0].has_ended:
                return found[0]
            raise WaitTimeoutError(record_id, found[0].status, timeout or 0.0) from None
        finally:
            waiters = self._waiting.get(record_id)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiting[record_id]

    async def close(self) -> None:
        """Stop polling; whoever still waits is told so."""
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.gather(self._poll, return_exceptions=True)
        told = "The QueueService was closed while record {} was waited for; it goes on all the same."
        self._refuse({record_id: QueueError(told.format(record_id)) for record_id in self._waiting})

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

    async def _look(self) -> None:
        asked = list(islice(self._waiting, LOOK_LIMIT))
        try:
            found = {record.id: record for record in await self._read(asked)}
        except StorageError as error:
            self._failures += 1
            if self._failures >= PATIENCE:
                self._refuse(dict.fromkeys(asked, error))
            return
        except Exception as error:  # noqa: BLE001 -- whatever it is, those who wait get it: nobody else would tell them
            self._refuse(dict.fromkeys(asked, error))
            return
        self._failures = 0
        self._refuse({record_id: RecordNotFoundError(record_id) for record_id in asked if record_id not in found})
        for record in found.values():
            self.announce(record)
            if record.id in self._waiting:  # Those after it have their turn next.
                self._waiting[record.id] = self._waiting.pop(record.id)

    def _refuse(self, errors: Mapping[UUID, Exception]) -> None:
        for record_id, error in errors.items():
            for waiter in self._waiting.pop(record_id, ()):
                if not waiter.done():
                    waiter.set_exception(error)
