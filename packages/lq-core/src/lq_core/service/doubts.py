"""
Records of which this process does not know whether it owns them: the answer to its claim was lost, or not awaited.

If it does, nobody would ever run them: the process is alive, and so nobody takes them from it. It gives them back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final
from uuid import UUID

from lq_core import lifecycle
from lq_core.errors import StorageError
from lq_core.event_log import event_log
from lq_core.queue import BaseQueueBackend
from lq_core.record import Place, QueuedTaskRecord, TaskStatus

log = event_log()

PAUSES: Final = (0.05, 0.2, 1.0, 3.0, 10.0)
"""
Seconds between the looks at a record.

After the last one no claim is under way any more; a look that the database does not answer is repeated.
"""


class Doubts:
    """What may belong to this process, and is not run by it; *held* tells what it does run, by id and epoch."""

    def __init__(
        self,
        backend: BaseQueueBackend,
        *,
        held: Callable[[], AbstractSet[Place]],
        swap: Callable[[QueuedTaskRecord, QueuedTaskRecord], Awaitable[bool]],
    ) -> None:
        self._backend = backend
        self._held = held
        self._swap = swap
        self._looks: set[asyncio.Task[None]] = set()

    def look_after(self, ids: Iterable[UUID], *, worker_id: str) -> None:
        """Give these records back as soon as they turn out to be this worker's; returns at once."""
        for record_id in ids:
            look = asyncio.create_task(self._look(record_id, worker_id))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def close(self) -> None:
        """Look no more: what the worker of this process owned is taken over when it signs off."""
        for look in self._looks:
            look.cancel()
        await asyncio.gather(*self._looks, return_exceptions=True)

    async def _look(self, record_id: UUID, worker_id: str) -> None:
        answers = 0
        while answers < len(PAUSES):
            await asyncio.sleep(PAUSES[answers])
            try:
                if await self._is_settled(record_id, worker_id):
                    return
            except StorageError as error:
                log.warning("record.still_in_doubt", extra={"record_id": str(record_id), "error": str(error)})
            else:
                answers += 1

    async def _is_settled(self, record_id: UUID, worker_id: str) -> bool:
        record = await self._backend.get(record_id)
        if record is None or record.status is not TaskStatus.RUNNING or record.worker_id != worker_id:
            return False
        if (record.id, record.epoch) in self._held():
            return True
        message = "the answer to its claim was lost"
        return await self._swap(record, lifecycle.interrupt(record, at=self._backend.now(), message=message))
