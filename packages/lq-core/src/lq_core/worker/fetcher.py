"""Claims as many records as a worker has free slots, and gives each to its execution backend."""

import asyncio
import random
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Final

from lq_core.execution import BaseExecutionBackend, ExternalExecutionBackend
from lq_core.foundation.errors import StorageError
from lq_core.presence.presence import Presence
from lq_core.presence.slots import Execute, Execution
from lq_core.queue import Claim
from lq_core.records.record import QueuedTaskRecord, TaskStatus
from lq_core.service import QueueService
from lq_core.worker.isolation import Isolation

FIRST_PAUSE: Final = 0.05
"""Seconds of the first pause after an empty claim; the pause doubles up to the poll interval."""

SHORTEST_PAUSE: Final = 0.001
"""Seconds of the first pause if a due record could not be claimed; the pause doubles."""

HANDED_OVER: Final = frozenset({TaskStatus.DISPATCHED, TaskStatus.RUNNING, TaskStatus.COMPLETED})
"""The statuses of a dispatched record; its executor may have been fast."""


class Fetcher:
    """
    Claims records for some execution backends, and starts them under a presence.

    It claims exactly as many records as it has free slots, so that no record waits in one worker while another is idle.
    """

    to: TaskStatus = TaskStatus.RUNNING

    def __init__(
        self,
        service: QueueService,
        presence: Presence,
        backends: Mapping[str, BaseExecutionBackend],
        *,
        queues: tuple[str, ...] | None,
        concurrency: int,
    ) -> None:
        self._service = service
        self._presence = presence
        self._queue = service.queue_backend
        self._backends = backends
        self._queues = queues
        self._concurrency = concurrency
        self._busy: set[Execution] = set()
        """The executions that use slots."""

        self._is_claiming = False
        self._isolation = Isolation(service, presence, backends)
        self._has_room = asyncio.Event()
        # Bound once: the garbage collector looks at every object that a running record owns.
        self._executing: Execute = self._execute
        self._pause = FIRST_PAUSE
        self._shortest = SHORTEST_PAUSE

    async def free_slots(self) -> int:
        """The number of records that can start now."""
        return max(0, self._concurrency - len(self._busy) - self._presence.delayed)

    def claim(self, limit: int) -> Claim:
        """Make the claim of this fetcher."""
        return Claim(
            worker_id=self._presence.worker_id,
            limit=limit,
            execution_backends=tuple(self._backends),
            queues=self._queues,
            to=self.to,
            brief=True,
        )

    async def has_work(self, *, within: float) -> bool:
        """
        Whether its presence holds a record, or one of its records becomes due in this number of seconds.

        True if this is uncertain, because the database is unavailable or has yet to answer a claim.
        """
        try:
            due = await self._queue.next_due(self.claim(1))
        except StorageError:
            return True
        if self._is_claiming or self._presence.held:
            # A claim may have taken the record that was due.
            return True
        return due is not None and (due - self._queue.now()).total_seconds() < within

    def nudge(self) -> None:
        """Stop waiting for a slot."""
        self._has_room.set()

    async def step(self) -> float:
        """Claim once, start the claimed records, and wait until another claim is useful."""
        changes = self._queue.changes
        self._has_room.clear()
        slots = await self.free_slots()
        if not slots or self._isolation.is_exclusive:
            await self._wait_for_slot()
            return 0
        claim = self.claim(slots)
        self._is_claiming = True
        try:
            claimed = await self._presence.claim(claim)
        finally:
            self._is_claiming = False
        records = self._presence.runnable(claimed.records, limit=slots)
        to_release = self._isolation.to_release(records, busy=len(self._busy))
        for record in records:
            self._start(record, release=record in to_release)
        if claimed.records:
            self._pause, self._shortest = FIRST_PAUSE, SHORTEST_PAUSE
            await asyncio.sleep(0)
        elif claimed.alive:
            await self._wait_for_work(changes, claim, claimed.next_look)
        return 0

    def _start(self, record: QueuedTaskRecord, *, release: bool) -> None:
        execute = self._isolation.release if release else self._executing
        execution = self._presence.execute(record, execute, slots=self)
        if record.losses and not release:
            self._isolation.started(record, execution)
        self._busy.add(execution)

    def _execute(self, record: QueuedTaskRecord) -> Awaitable[QueuedTaskRecord]:
        backend = self._backends[record.execution_backend]
        return backend.execute(self._service, record, worker_id=record.worker_id)

    def free(self, execution: Execution) -> None:
        """Let another record start."""
        self._busy.discard(execution)
        self._has_room.set()

    def hold(self, execution: Execution) -> None:
        """Keep the slot of a record whose outcome cannot be stored now."""
        self._busy.add(execution)

    async def _wait_for_slot(self) -> None:
        try:
            async with asyncio.timeout(self._service.config.poll_interval):
                await self._has_room.wait()
        except TimeoutError:
            pass

    async def _wait_for_work(self, changes: int, claim: Claim, next_look: datetime | None) -> None:
        timeout = self._pause
        self._pause = min(self._pause * 2, self._service.config.poll_interval)
        due = await self._queue.next_due(claim) if next_look is None else next_look
        if due is not None:
            # A due record that cannot be claimed is locked by a transaction, which can take long.
            ahead = (due - self._queue.now()).total_seconds()
            timeout = min(timeout, max(self._shortest, ahead))
            self._shortest = SHORTEST_PAUSE if ahead > 0 else min(self._shortest * 2, FIRST_PAUSE)
        else:
            timeout *= random.uniform(0.75, 1)  # noqa: S311 -- spreads the claims of idle workers
        await self._queue.wait_for_work(changes, timeout=timeout)


class DispatchFetcher(Fetcher):
    """Reserves records for one external execution backend, as fast as that backend allows."""

    to = TaskStatus.DISPATCHED
    dispatched = 0
    """How many records it has dispatched."""

    async def free_slots(self) -> int:
        """The number of records that the backend can dispatch now."""
        (backend,) = self._backends.values()
        assert isinstance(backend, ExternalExecutionBackend)
        return max(0, await backend.capacity(self._service) - len(self._busy))

    async def _execute(self, record: QueuedTaskRecord) -> QueuedTaskRecord:
        after = await super()._execute(record)
        self.dispatched += after.status in HANDED_OVER
        return after
