"""The open services of all stores of a configuration."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from itertools import combinations
from typing import TypeVar
from uuid import UUID

from lq_core.config.queue_config import MAIN, QueueConfig, checked
from lq_core.foundation.errors import ConfigurationError, RecordNotFoundError, SchemaError, StorageError
from lq_core.foundation.event_log import event_log
from lq_core.queue import BaseQueueBackend
from lq_core.service import merged
from lq_core.service.new_records import check_id
from lq_core.service.queue_service import QueueService

Answer = TypeVar("Answer")

log = event_log()


class _OneStore(QueueService):
    """The service of one store; the tasks that it runs get the service of all stores."""

    def __init__(
        self, config: QueueConfig, of_all: "StoreServices", *, queue_backend: BaseQueueBackend | None = None
    ) -> None:
        self._of_all = of_all
        super().__init__(config, queue_backend=queue_backend)

    def _offered_to_tasks(self) -> "StoreServices":
        return self._of_all


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

    async def _open_backend(self) -> None:
        for (name, one), (other, another) in combinations(self.stores.items(), 2):
            if _are_the_same(one, another):
                raise ConfigurationError(
                    f"The stores {name!r} and {other!r} are both at {one.queue_backend.address}. Give each store a "
                    "database of its own."
                )
        opened = await asyncio.gather(*(each.open() for each in self.stores.values()), return_exceptions=True)
        failed = {name: one for name, one in zip(self.stores, opened, strict=True) if isinstance(one, BaseException)}
        for name, error in failed.items():
            may_recover = isinstance(error, StorageError) and not (error.is_permanent or isinstance(error, SchemaError))
            if not may_recover or len(failed) == len(self.stores):
                await self._close_stores()
                raise error
            log.warning("store.unusable", extra={"store": name, "error": str(error)})

    async def close(self) -> None:
        """Close all stores; raises as ``QueueService.close`` does."""
        for each in (self, *self.stores.values()):
            each.check_can_close()
        await self._close_stores()
        await super().close()

    async def _close_stores(self) -> None:
        async with AsyncExitStack() as closing:
            for each in self.stores.values():
                closing.push_async_callback(each.close)

    async def opened(self, store: str) -> QueueService:
        """Return the open service of one store; raises as ``QueueService.open`` does, and KeyError."""
        self._open()
        try:
            return await self.stores[store].open()
        except StorageError as error:
            error.add_note(f"It is the store {store!r}.")
            raise

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
        """Return the first store that has a record; a store that cannot be used matters only if no other one has it."""
        self._open()

        async def look(store: str) -> QueueService | None:
            service = await self.opened(store)
            return None if await service.get(record_id) is None else service

        return await merged.first(look(store) for store in self.stores)

    async def _all(self, action: Callable[[QueueService], Awaitable[Answer]]) -> list[Answer]:
        """Do something in all stores at once; raises the first error when all have done it, or failed."""

        async def act(store: str) -> Answer:
            return await action(await self.opened(store))

        self._open()
        return await merged.all_of(act(store) for store in self.stores)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(f'{name}={each!r}' for name, each in self.stores.items())}>"
