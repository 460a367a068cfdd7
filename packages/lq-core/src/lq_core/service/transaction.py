"""Enqueues in a transaction of the application, which commits records and business rows together."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

from lq_core.queue import BaseQueueBackend, insert_or_amend
from lq_core.records.record import QueuedTaskRecord
from lq_core.service.new_records import accepted, check_predecessors, listed, proposals, results
from lq_core.service.result import RecordSource, TaskResult
from lq_core.tasks.call import TaskCall
from lq_core.tasks.task import Task

Params = ParamSpec("Params")
Result = TypeVar("Result")


class EnqueueWithin:
    """
    Enqueues calls in a transaction that the application commits or rolls back; ``service.within(connection)`` makes it.

    Workers see the records after the commit, which wakes them; you can wait for results after it. A record of an
    inline execution backend waits for a worker, too.
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
        Store one call of a task; raises the errors of ``QueueService.enqueue`` and of the driver.

        Raises ConfigurationError if the records are not in the database of the application, or if the connection has
        no open transaction.
        """
        return accepted((await self.enqueue_many([task.call(*args, **kwargs)]))[0])

    async def enqueue_many(self, calls: Iterable[TaskCall[Result]]) -> list[TaskResult[Result]]:
        """
        Store many calls, made by ``task.call(...)``, all or none; raises as :meth:`enqueue` does.

        A key that another record holds raises nothing: see the outcome of each result.
        """
        calls = listed(calls, what="calls")
        now = self._queue_backend.now()
        records = self._records(calls, at=now)
        follows = self._queue_backend.follows_held_keys
        await check_predecessors(records, self._find, follows_held_keys=follows)
        insertions = await insert_or_amend(
            proposals(calls, records),
            insert=partial(self._queue_backend.transactions.insert_within, self._connection),
            amend=partial(self._queue_backend.transactions.amend_within, self._connection),
        )
        return results(calls, insertions, self._source)

    async def _find(self, ids: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        """Read committed records, and the missing ones in this transaction."""
        found = await self._queue_backend.get_many(ids)
        missing = set(ids) - {record.id for record in found}
        transactions = self._queue_backend.transactions
        return [*found, *await transactions.get_within(self._connection, list(missing))] if missing else found
