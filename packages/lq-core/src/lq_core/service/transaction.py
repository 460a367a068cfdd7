"""Enqueueing in a transaction of the application's own: records and business rows are committed together."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

from lq_core.queue import BaseQueueBackend, insert_or_amend
from lq_core.record import QueuedTaskRecord
from lq_core.result import RecordSource, TaskResult
from lq_core.service.calls import accepted, check_predecessors, proposals, results
from lq_core.task import Task, TaskCall

Params = ParamSpec("Params")
Result = TypeVar("Result")


class EnqueueWithin:
    """
    Enqueues calls in a transaction that the application commits or rolls back; ``service.within(connection)`` makes it.

    Workers see nothing before the commit, and are woken by it; a result can be waited for after it. A record that would
    run inline waits for a worker like the others.
    """

    def __init__(
        self,
        connection: object,
        *,
        queue_backend: BaseQueueBackend,
        records: Callable[..., Sequence[QueuedTaskRecord]],
        source: RecordSource,
    ) -> None:
        self._connection = connection
        self._queue_backend = queue_backend
        self._records = records
        self._source = source

    async def enqueue(
        self, task: Task[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> TaskResult[Result]:
        """
        Store one call of a task; raises as ``QueueService.enqueue`` does, and what the driver raises.

        Raises ConfigurationError when the records are not kept in the application's database, or when no transaction
        is open on the connection.
        """
        return accepted((await self.enqueue_many([task.call(*args, **kwargs)]))[0])

    async def enqueue_many(self, calls: Iterable[TaskCall[Result]]) -> list[TaskResult[Result]]:
        """
        Store many calls, made by ``task.call(...)``, all or none; raises as :meth:`enqueue` does.

        Only a held key raises nothing: the result says what has been done.
        """
        calls = list(calls)
        now = self._queue_backend.now()
        records = self._records(calls, at=now)
        await check_predecessors(records, self._find)
        insertions = await insert_or_amend(
            proposals(calls, records),
            insert=partial(self._queue_backend.insert_within, self._connection),
            amend=partial(self._queue_backend.amend_within, self._connection),
        )
        return results(calls, insertions, self._source)

    async def _find(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        """Read what is committed, and the rest where it may be stored without being so: in this transaction."""
        found = await self._queue_backend.get_many(ids)
        missing = set(ids) - {record.id for record in found}
        return [*found, *await self._queue_backend.get_within(self._connection, list(missing))] if missing else found
