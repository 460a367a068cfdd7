"""The service of an application whose queues are in several databases: it sends each call to the store of its queue."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TypeVar
from uuid import UUID

from lq_core.config.queue_config import MAIN, QueueConfig, checked
from lq_core.foundation.duration import Duration
from lq_core.foundation.errors import ConfigurationError, UnknownScheduleError
from lq_core.queue import Action, Rollup
from lq_core.queue.messages import QueueState, RecordFilter, Statistics, WorkerInfo
from lq_core.records.record import QueuedTaskRecord, RateLimit
from lq_core.records.timeline import Event
from lq_core.schedules.schedule import known_schedules
from lq_core.schedules.schedule_state import ScheduleState
from lq_core.service import merged
from lq_core.service.demand import TARGET_WAIT, Demand
from lq_core.service.new_records import check_id, listed
from lq_core.service.queue_service import EVERYTHING, QueueService
from lq_core.service.result import TaskResult
from lq_core.service.store_services import StoreServices, naming
from lq_core.service.transaction import EnqueueWithin
from lq_core.tasks.call import TaskCall

Result = TypeVar("Result")


class RoutedQueueService(StoreServices):
    """
    Opens all stores of a configuration, and routes calls to them by ``QueueConfig.routes``.

    A change of many records and a read of many ask all stores, and raise StorageError if one cannot be used. Calls for
    one queue, and for one record of a store that can be used, go on. A store that cannot be used when the service
    opens is opened by the first call that needs it. Run records with ``StoreWorkers``.
    """

    # ------------------------------------------------------------ enqueue

    async def enqueue_many(self, calls: Iterable[TaskCall[Result]]) -> list[TaskResult[Result]]:
        """
        Store many calls for queues of one store, all or none; raises as ``QueueService.enqueue_many`` does.

        Raises ConfigurationError for queues of several stores, and for a predecessor in another store.
        """
        calls = listed(calls, what="calls")
        service = await self.opened(self.store_for(calls))
        try:
            with naming(service.config.own_store):
                return await service.enqueue_many(calls)
        except ConfigurationError:
            await self.check_predecessors(calls, service)
            raise

    def check(self, calls: Iterable[TaskCall[Result]]) -> None:
        """Check a list of calls as :meth:`enqueue_many` does, without the database; raises the same errors."""
        calls = listed(calls, what="calls", read_again=True)
        self.stores[self.store_for(calls)].check(calls)

    def record_of(self, call: TaskCall[Result], *, at: datetime) -> QueuedTaskRecord:
        """Make the record of a call without storing it; raises the errors of :meth:`enqueue` that concern the call."""
        return self.stores[self.store_for([call])].record_of(call, at=at)

    def within(self, connection: object) -> EnqueueWithin:
        """Enqueue in the open transaction of your own connection to the database of one store."""
        return _RoutedEnqueueWithin(connection, self)

    def store_for(self, calls: Sequence[TaskCall[Result]]) -> str:
        """Return the name of the store of these calls. Raises ConfigurationError if they are for several stores."""
        routes = {one.options.queue: self.config.store_of(one.options.queue) for one in calls if type(one) is TaskCall}
        if len({*routes.values()}) > 1:
            raise ConfigurationError(
                f"These calls are for queues of several stores, {routes}, and no transaction spans two databases. "
                "Enqueue the calls of each store separately, or route the queues to one store."
            )
        return next(iter(routes.values()), MAIN)

    async def check_predecessors(self, calls: Sequence[TaskCall[Result]], service: QueueService) -> None:
        """Raise ConfigurationError if a predecessor of these calls for one store is in another one."""
        store = service.config.own_store
        for predecessor in {one for call in calls for one in call.options.after}:
            holder = await self._holder(predecessor)
            if holder is None or holder is service or (record := await holder.get(predecessor)) is None:
                continue
            text = f"after names {predecessor}, which is in the store {holder.config.own_store!r}, and this call is for"
            if self.config.store_of(record.queue) == store:
                raise ConfigurationError(
                    f"{text} the store {store!r}: the queue {record.queue!r} was moved there, and this predecessor is "
                    "still in the old store. Wait until it has ended, and enqueue the call without it."
                )
            raise ConfigurationError(
                f"{text} the store {store!r}. Enqueue the call from the task that comes first, or route both queues "
                "to one store."
            )

    # ------------------------------------------------------------ one record

    async def get(self, record_id: UUID) -> QueuedTaskRecord | None:
        """Read a record; None if it does not exist. Raises StorageError if it may be in a store that cannot be used."""
        holder = await self._holder(check_id(record_id))
        return None if holder is None else await holder.get(record_id)

    async def wait(self, record_id: UUID, *, timeout: Duration | None = None) -> QueuedTaskRecord:
        """Wait until a record has ended, and return it; raises as ``QueueService.wait`` does."""
        return await (await self._holding(record_id)).wait(record_id, timeout=timeout)

    async def cancel(self, record_id: UUID) -> bool:
        """Cancel a record, or ask its owner to stop it; raises as ``QueueService.cancel`` does."""
        return await (await self._holding(record_id)).cancel(record_id)

    async def signal(
        self, record_id: UUID, name: str, value: object = None, *, timeout: Duration | None = 30.0
    ) -> bool:
        """Send a signal with a value to a record; works and raises as ``QueueService.signal`` does."""
        return await (await self._holding(record_id)).signal(record_id, name, value, timeout=timeout)

    async def retry(self, record_id: UUID) -> QueuedTaskRecord:
        """Start an ended record again by hand, in its store; raises as ``QueueService.retry`` does."""
        return await (await self._holding(record_id)).retry(record_id)

    # ------------------------------------------------------------ many records

    async def find(
        self, condition: RecordFilter = EVERYTHING, *, limit: int = 100, before: UUID | None = None
    ) -> Sequence[QueuedTaskRecord]:
        """Read one page of the records of all stores, newest first."""
        pages = await self._all(lambda store: store.find(condition, limit=limit, before=before))
        return list(islice(merge(*pages, key=attrgetter("id"), reverse=True), limit))

    async def count(self, condition: RecordFilter = EVERYTHING) -> int:
        """Count the matching records of all stores."""
        return sum(await self._all(lambda store: store.count(condition)))

    async def statistics(self) -> Statistics:
        """Count the records of all stores by queue and status."""
        return merged.statistics(await self._all(lambda store: store.statistics()))

    async def rollups(self, *, minutes: int = 60, queue: str | None = None) -> Sequence[Rollup]:
        """Read what has ended in each of the last *minutes* in all stores, as ``QueueService.rollups`` does."""
        return merged.rollups(await self._all(lambda store: store.rollups(minutes=minutes, queue=queue)))

    async def actions(self, *, limit: int = 50) -> Sequence[Action]:
        """Read what people have changed in all stores, newest first."""
        found = await self._all(lambda store: store.actions(limit=limit))
        return list(islice(merge(*found, key=attrgetter("at"), reverse=True), limit))

    async def note_action(self, action: str, subject: str, *, actor: str) -> None:
        """Keep for 30 days in the store ``"main"`` what somebody has changed."""
        await (await self.opened(MAIN)).note_action(action, subject, actor=actor)

    async def workers(self) -> Sequence[WorkerInfo]:
        """Read the registered workers of all stores."""
        return [worker for found in await self._all(lambda store: store.workers()) for worker in found]

    async def demand(
        self,
        *,
        target_wait: Duration = TARGET_WAIT,
        concurrency: int | None = None,
        queues: Sequence[str] | None = None,
        statistics: Statistics | None = None,  # noqa: ARG002 -- as in QueueService
    ) -> Demand:
        """
        Return how many processes with ``StoreWorkers`` the queues need; raises as ``QueueService.demand`` does.

        Each process has *concurrency* slots for each store, so the store that needs most decides. For workers of one
        store, ask ``service.stores[name].demand()``. The *statistics* are not used: each store reads its own.
        """
        return merged.demand(
            await self._all(lambda store: store.demand(target_wait=target_wait, concurrency=concurrency, queues=queues))
        )

    def events(
        self, condition: RecordFilter = EVERYTHING, *, of: Iterable[TaskResult[Result] | UUID] | None = None
    ) -> AsyncGenerator[Event]:
        """Follow the events of records of all stores; works and raises as ``QueueService.events`` does."""
        self._open()
        if of is None:
            return merged.streams(self._followed(store, condition) for store in self.stores)
        return self._followed_records([one if isinstance(one, UUID) else one.id for one in listed(of, what="results")])

    async def _followed(self, store: str, condition: RecordFilter) -> AsyncGenerator[Event]:
        async with aclosing((await self.opened(store)).events(condition)) as events:
            async for event in events:
                yield event

    async def _followed_records(self, ids: Sequence[UUID]) -> AsyncGenerator[Event]:
        of: dict[QueueService, list[UUID]] = {}
        for one in ids:
            of.setdefault(await self._holding(one), []).append(one)
        async with aclosing(merged.streams(store.events(of=here) for store, here in of.items())) as events:
            async for event in events:
                yield event

    async def retry_many(self, condition: RecordFilter) -> int:
        """Retry all matching failed, cancelled and expired records of all stores; return the number."""
        return sum(await self._all(lambda store: store.retry_many(condition)))

    async def cancel_many(self, condition: RecordFilter) -> int:
        """Cancel all matching records of all stores that have not ended; return the number."""
        return sum(await self._all(lambda store: store.cancel_many(condition)))

    async def delete_many(self, condition: RecordFilter) -> int:
        """Delete all matching ended records that hold no key, as ``QueueService.delete_many`` does, in all stores."""
        return sum(await self._all(lambda store: store.delete_many(condition)))

    # ------------------------------------------------------------ queues: a moved one is in two stores until it drains

    async def pause(self, queue: str) -> bool:
        """Stop all claims from a queue in all stores; False if no record and no known task names this queue."""
        return any(await self._all(lambda store: store.pause(queue)))

    async def resume(self, queue: str) -> None:
        """Allow claims from a paused or drained queue again, in all stores."""
        await self._all(lambda store: store.resume(queue))

    async def limit_queue(self, queue: str, *, concurrency: int | None = None, rate: RateLimit | None = None) -> None:
        """Limit a queue in each store apart; None removes a limit. Raises ConfigurationError."""
        await self._all(lambda store: store.limit_queue(queue, concurrency=concurrency, rate=rate))

    async def drain(self, queue: str, *, timeout: Duration | None = None) -> int:
        """Drain a queue in all stores, as ``QueueService.drain`` does, and return how many records have not ended."""
        return sum(await self._all(lambda store: store.drain(queue, timeout=timeout)))

    async def queues(self) -> Mapping[str, QueueState]:
        """Read the states of queues, each in the store that its new records go to."""
        found = zip(self.stores, await self._all(lambda store: store.queues()), strict=True)
        return {
            queue: state
            for store, states in found
            for queue, state in states.items()
            if self.config.store_of(queue) == store
        }

    # ------------------------------------------------------------ schedules: each is in the store of its queue

    async def schedules(self) -> Sequence[ScheduleState]:
        """
        Read the states of all schedules, sorted by name.

        A schedule whose queue has moved is in two stores; its state is the one in the store of its queue.
        """
        states: dict[str, ScheduleState] = {}
        for store, found in zip(self.stores, await self._all(lambda store: store.schedules()), strict=True):
            for state in found:
                known = known_schedules().get(state.name)
                is_here = known is not None and self.config.store_of(known.call.options.queue) == store
                if is_here or state.name not in states:
                    states[state.name] = state
        return [states[name] for name in sorted(states)]

    async def next_times(self, name: str, count: int = 5) -> Sequence[datetime]:
        """Return the next due times of a schedule, in UTC, even if it is paused. Raises UnknownScheduleError."""
        return await (await self._scheduling(name)).next_times(name, count)

    async def pause_schedule(self, name: str) -> None:
        """Stop a schedule until you resume it. Raises UnknownScheduleError."""
        await (await self._scheduling(name)).pause_schedule(name)

    async def resume_schedule(self, name: str) -> None:
        """Let a schedule fire again. Raises UnknownScheduleError."""
        await (await self._scheduling(name)).resume_schedule(name)

    async def run_schedule(self, name: str) -> QueuedTaskRecord:
        """Enqueue the call of a schedule now; raises as ``QueueService.run_schedule`` does."""
        return await (await self._scheduling(name)).run_schedule(name)

    async def _scheduling(self, name: str) -> QueueService:
        """Return the store of a schedule: that of its queue if this process knows it, or the one that has its state."""
        if (schedule := known_schedules().get(name)) is not None:
            return await self.opened(self.config.store_of(schedule.call.options.queue))
        names: set[str] = set()
        for store, states in zip(self.stores, await self._all(lambda store: store.schedules()), strict=True):
            names.update(state.name for state in states)
            if name in names:
                return self.stores[store]
        raise UnknownScheduleError(name, sorted(names))


def service_of(config: QueueConfig | None = None) -> QueueService:
    """Make the service of an application: a RoutedQueueService if its configuration has several stores."""
    config = checked(config)
    return RoutedQueueService(config) if config.has_several_stores else QueueService(config)


class _RoutedEnqueueWithin(EnqueueWithin):
    """Enqueues calls in a transaction of the application, in the database of one store."""

    def __init__(self, connection: object, service: RoutedQueueService) -> None:
        self._in = connection
        self._service = service

    async def enqueue_many(self, calls: Iterable[TaskCall[Result]]) -> list[TaskResult[Result]]:
        """Store many calls for queues of the store whose database it is, as ``EnqueueWithin.enqueue_many`` does."""
        calls = listed(calls, what="calls")
        service = await self._service.opened(self._service.store_for(calls))
        try:
            with naming(service.config.own_store):
                return await service.within(self._in).enqueue_many(calls)
        except ConfigurationError:
            await self._service.check_predecessors(calls, service)
            raise
