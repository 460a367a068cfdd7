"""The presences of one service, by worker id."""

import asyncio
from collections.abc import Coroutine, Sequence

from lq_core.attempts.attempt import Perform, StopReason
from lq_core.attempts.injector import Injector
from lq_core.presence.outcome_storing import Settling
from lq_core.presence.presence import Presence
from lq_core.queue import BaseQueueBackend, WorkerInfo
from lq_core.records.identity import new_worker_id
from lq_core.records.record import Fence, QueuedTaskRecord
from lq_core.tasks.middleware import Middleware


class Presences:
    """Makes presences and finds them again."""

    def __init__(
        self, backend: BaseQueueBackend, settling: Settling, *, injector: Injector, middleware: Sequence[Middleware]
    ) -> None:
        self._backend = backend
        self._injector = injector
        self._middleware = middleware
        self._by_id: dict[str, Presence] = {}
        self.settling = settling
        self.own = self.new()
        """The owner of inline runs, and of records that run without a worker."""

    def new(
        self,
        *,
        queues: tuple[str, ...] | None = None,
        execution_backends: tuple[str, ...] = (),
        concurrency: int = 0,
    ) -> Presence:
        """Make a presence that registers with these facts."""
        now = self._backend.now()
        info = WorkerInfo(
            id=new_worker_id(),
            queues=queues,
            execution_backends=execution_backends,
            concurrency=concurrency,
            started_at=now,
            seen_at=now,
        )
        return Presence(
            info,
            self._backend,
            self.settling,
            injector=self._injector,
            middleware=self._middleware,
            directory=self._by_id,
        )

    def run(
        self, record: QueuedTaskRecord, *, worker_id: str | None, perform: Perform | None
    ) -> Coroutine[None, None, QueuedTaskRecord]:
        """Run a record under the presence that has claimed it, or will; raises as :meth:`Presence.run` does."""
        presence = self._by_id.get(worker_id or record.worker_id or "", self.own)
        return presence.run(record, worker_id=worker_id, perform=perform)

    def stop_one(self, fence: Fence, reason: StopReason) -> bool:
        """Stop one record; False if it does not run here."""
        return any(presence.stop_one(fence, reason) for presence in self._by_id.values())

    def runs(self, fence: Fence) -> bool:
        """Whether a record runs here."""
        return any(fence in presence.held for presence in self._by_id.values())

    def ids(self) -> frozenset[str]:
        """Return the ids of all presences."""
        return frozenset(self._by_id)

    def running(self) -> list[str]:
        """Return the task names of all running records."""
        return sorted(name for presence in {*self._by_id.values()} for name in presence.running())

    async def close(self) -> None:
        """Close every presence: stop and release its records, and retire its worker id."""
        self.settling.close()
        await asyncio.gather(*(presence.close() for presence in {*self._by_id.values()}))
