"""The open services of all stores of a configuration."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime
from functools import partial
from itertools import chain, combinations
from typing import TypeVar
from uuid import UUID

from lq_core.attempts.attempt import Perform
from lq_core.config.queue_config import MAIN, QueueConfig, checked
from lq_core.execution import BaseExecutionBackend
from lq_core.foundation.errors import ConfigurationError, RecordNotFoundError, SchemaError, StorageError
from lq_core.foundation.event_log import event_log
from lq_core.foundation.validation import unknown_name
from lq_core.presence.directory import Presences
from lq_core.presence.presence import Presence
from lq_core.queue import BaseQueueBackend
from lq_core.records.record import QueuedTaskRecord
from lq_core.service import merged
from lq_core.service.completion import Completions
from lq_core.service.new_records import check_id, listed
from lq_core.service.queue_service import QueueService
from lq_core.tasks.call import TaskCall

Answer = TypeVar("Answer")
Result = TypeVar("Result")

log = event_log()


@contextmanager
def naming(store: str) -> Generator[None]:
    """Name the store at the beginning of the text of a StorageError."""
    try:
        yield
    except StorageError as error:
        name = f"Store {store!r}: "
        if not str(error).startswith(name):  # Callers who share a statement get the same error.
            error.args = (f"{name}{error}", *error.args[1:])
        raise


class _OneStore(QueueService):
    """The service of one store; the tasks that it runs get the service of all stores."""

    def __init__(
        self, config: QueueConfig, of_all: "StoreServices", *, queue_backend: BaseQueueBackend | None = None
    ) -> None:
        self._of_all = of_all
        super().__init__(config, queue_backend=queue_backend)

    def check(self, calls: Iterable[TaskCall[Result]]) -> None:
        """Check a list of calls as ``QueueService.check`` does, even if this store is not open."""
        calls = listed(calls, what="calls", read_again=True)
        self._of_all.check_open()
        self._maker.many(calls, at=self.queue_backend.now())
        self._injector.check_calls(calls)

    def record_of(self, call: TaskCall[Result], *, at: datetime) -> QueuedTaskRecord:
        """Make the record of a call as ``QueueService.record_of`` does, even if this store is not open."""
        self._of_all.check_open()
        return self._maker.one(call, at=at)

    def _offered_to_tasks(self) -> "StoreServices":
        return self._of_all

    def _open(self) -> tuple[Presences, Completions]:
        if not self.is_open and self._of_all.is_open:
            store = self.config.own_store
            raise StorageError(
                f"Store {store!r}: it is not open, because its database could not be used when the service opened. "
                f"Open it with `await service.opened({store!r})`."
            )
        return super()._open()


def _are_the_same(one: QueueService, other: QueueService) -> bool:
    """Whether two services certainly share a database; two addresses of one server are not noticed."""
    if not (one.queue_backend.shared and other.queue_backend.shared):
        return False
    file = one.queue_backend.own_file
    by_file = file is not None and file == other.queue_backend.own_file
    return by_file or one.config.queue_backend == other.config.queue_backend


class StoreServices(QueueService):
    """The base of RoutedQueueService: it opens all stores, and asks one of them or all."""

    def __init__(self, config: QueueConfig | None = None) -> None:
        config = checked(config)
        if config.store is not None:
            raise ConfigurationError(
                f"This is the configuration of the store {config.store!r}; give RoutedQueueService that of all stores."
            )
        super().__init__(config)
        others = {name: _OneStore(config.of_store(name), self) for name in config.stores}
        main = _OneStore(config.of_store(MAIN), self, queue_backend=self.queue_backend)
        self.stores: Mapping[str, QueueService] = {MAIN: main, **others}
        """The service of each store, by name."""

        self._opening: dict[str, asyncio.Task[QueueService]] = {}
        self._is_closing = False
        self._unanswered: dict[str, set[asyncio.Task[QueuedTaskRecord | None]]] = {name: set() for name in self.stores}
        """The reads in each store that nobody waits for any more, because another store has had the record."""

    def check_open(self) -> None:
        """Raise ConfigurationError if this is closed, or was opened in another event loop."""
        self._open()

    async def _open_backend(self) -> None:
        for (name, one), (other, another) in combinations(self.stores.items(), 2):
            if _are_the_same(one, another):
                raise ConfigurationError(
                    f"The stores {name!r} and {other!r} are both at {one.queue_backend.address}. Give each store a "
                    "database of its own."
                )
        self._is_closing = False
        self._unanswered.update((name, set()) for name in self.stores)
        try:
            opened = await asyncio.gather(*map(self._open_store, self.stores), return_exceptions=True)
        except BaseException:
            await self._close_backend()
            raise
        failed = {name: one for name, one in zip(self.stores, opened, strict=True) if isinstance(one, BaseException)}
        for name, error in failed.items():
            may_recover = isinstance(error, StorageError) and not (error.is_permanent or isinstance(error, SchemaError))
            if not may_recover or len(failed) == len(self.stores):
                await self._close_backend()
                raise error
            log.warning("store.unusable", extra={"store": name, "error": str(error)})

    async def close(self) -> None:
        """Close all stores; raises as ``QueueService.close`` does."""
        for each in (self, *self.stores.values()):
            each.check_can_close()
        await super().close()

    async def _close_backend(self) -> None:
        self._is_closing = True
        for one in (*self._opening.values(), *chain(*self._unanswered.values())):
            one.cancel()
        async with AsyncExitStack() as closing:
            for each in self.stores.values():
                closing.push_async_callback(each.close)

    async def opened(self, store: str) -> QueueService:
        """
        Return the open service of one store; all who wait for one that opens wait for the same try.

        Raises as ``QueueService.open`` does, and ConfigurationError if there is no such store.
        """
        self._open()
        if store not in self.stores:
            raise unknown_name("store", store, [*self.stores])
        if self.stores[store].is_open:
            return self.stores[store]
        opening = self._opening.get(store)
        if opening is None:
            if self._is_closing:
                raise ConfigurationError(f"The service is closing, so it does not open the store {store!r}.")
            opening = self._opening[store] = asyncio.create_task(self._open_store(store))
            opening.add_done_callback(partial(self._end_opening, store))
        await asyncio.wait([opening])  # Whoever is cancelled only stops waiting.
        if opening.cancelled():
            raise ConfigurationError(f"The service was closed while it opened the store {store!r}.")
        return opening.result()

    async def _open_store(self, store: str) -> QueueService:
        with naming(store):
            return await self.stores[store].open()

    def _end_opening(self, store: str, opening: asyncio.Task[QueueService]) -> None:
        del self._opening[store]
        if not opening.cancelled():
            opening.exception()  # All who have waited for it may be gone.

    async def execution_backend(self, name: str) -> BaseExecutionBackend:
        """Return the open execution backend of this name, of an open store. Raises UnknownBackendError."""
        return await self._any_open().execution_backend(name)

    async def execution_backends(self) -> Mapping[str, BaseExecutionBackend]:
        """Open the execution backends of an open store; raises as ``QueueService.execution_backends`` does."""
        return await self._any_open().execution_backends()

    def new_presence(
        self,
        *,
        queues: tuple[str, ...] | None = None,  # noqa: ARG002 -- as in QueueService
        execution_backends: tuple[str, ...] = (),  # noqa: ARG002 -- as in QueueService
        concurrency: int = 0,  # noqa: ARG002 -- as in QueueService
    ) -> Presence:
        """Raise ConfigurationError: an owner of records is registered in one store."""
        raise ConfigurationError(
            "A presence owns the records of one store. Make it with service.stores[name].new_presence(), with name one "
            f"of {', '.join(self.stores)}."
        )

    async def execute_record(
        self, record: QueuedTaskRecord, *, worker_id: str | None = None, perform: Perform | None = None
    ) -> QueuedTaskRecord:
        """Run a record for its store; raises as ``QueueService.execute_record`` does, and RecordNotFoundError."""
        holder = await self._holding(record.id)
        return await holder.execute_record(record, worker_id=worker_id, perform=perform)

    async def swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> bool:
        """Store *new*, a step of the lifecycle from *old*, in the store of *old*; works as ``QueueService.swap``."""
        holder = await self._holder(old.id)
        return holder is not None and await holder.swap(old, new)

    def _any_open(self) -> QueueService:
        self._open()
        return next((each for each in self.stores.values() if each.is_open), self.stores[MAIN])

    @property
    def worker_ids(self) -> frozenset[str]:
        """The ids under which workers of this process are registered, in all stores that are open."""
        return frozenset(one for each in self.stores.values() if each.is_open for one in each.worker_ids)

    def running(self) -> list[str]:
        """Return the task names of all records that run here; after closing, of those that did not stop."""
        return [name for each in self.stores.values() for name in each.running()]

    async def _holding(self, record_id: UUID) -> QueueService:
        holder = await self._holder(check_id(record_id))
        if holder is None:
            raise RecordNotFoundError(record_id)
        return holder

    async def _holder(self, record_id: UUID) -> QueueService | None:
        """
        Return the first store that has a record; a store that cannot be used matters only if no other one has it.

        A store that is not open yet, or does not answer, is asked only if no other one has the record.
        """
        self._open()
        last = {name for name, each in self.stores.items() if not each.is_open or self._unanswered[name]}

        async def look(store: str) -> QueueService | None:
            service = await self.opened(store)
            with naming(store):
                found = await merged.whole(service.get(record_id), left=self._unanswered[store])
            return None if found is None else service

        return await merged.first(
            (look(store) for store in self.stores if store not in last), (look(store) for store in last)
        )

    async def _all(self, action: Callable[[QueueService], Awaitable[Answer]]) -> list[Answer]:
        """Do something in all stores at once; raises the first error when all have done it, or failed."""

        async def act(store: str) -> Answer:
            service = await self.opened(store)
            with naming(store):
                return await action(service)

        self._open()
        return await merged.all_of(act(store) for store in self.stores)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(f'{name}={each!r}' for name, each in self.stores.items())}>"
