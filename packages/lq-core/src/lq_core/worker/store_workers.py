"""The workers of a configuration with several stores: one worker for each store, in one process."""

import asyncio
from typing import Final

from lq_core.config.queue_config import MAIN
from lq_core.foundation.errors import StorageError
from lq_core.foundation.event_log import event_log
from lq_core.service import QueueService, RoutedQueueService
from lq_core.service.store_services import naming
from lq_core.worker.loop import LONGEST_PAUSE
from lq_core.worker.worker import Worker

log = event_log()

FIRST_PAUSE: Final = 0.1
"""Seconds between two tries to start the worker of a store that cannot be used; each pause is twice the last one."""


class StoreWorkers(Worker):
    """
    Runs a :class:`Worker` for each store of a RoutedQueueService: ``async with StoreWorkers(service):``.

    They work apart: each has the slots of ``QueueConfig.concurrency``, and each goes on while the others' databases
    cannot be used. A worker whose database cannot be used at the start is started when it can be.
    """

    def __init__(self, service: RoutedQueueService) -> None:
        """Raises TypeError for a service of one store."""
        if not isinstance(service, RoutedQueueService):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            raise TypeError(
                f"{service!r} is not a RoutedQueueService; open RoutedQueueService(config), or run Worker(...)."
            )
        super().__init__(service)
        self._routed = service
        self._workers: dict[str, Worker] = {}
        self._failures: dict[str, str] = {}
        self._seen: set[str] = set()

    @property
    def worker_id(self) -> str | None:
        """The first id of the worker of the store ``"main"``; None before its start."""
        return self._workers[MAIN].worker_id if MAIN in self._workers else None

    @property
    def trouble(self) -> str | None:
        """Why the worker of a store cannot work, or has given up its records; None if all work."""
        troubles = {store: worker.trouble for store, worker in self._workers.items() if store not in self._failures}
        found = [f"Store {store!r}: {trouble}" for store, trouble in troubles.items() if trouble]
        return "; ".join([*found, *self._failures.values()]) or None

    @property
    def dispatched(self) -> int:
        """How many records they have dispatched to external execution backends."""
        return sum(worker.dispatched for worker in self._workers.values())

    def _stop_here(self) -> None:
        self._stop.set()
        for worker in self._workers.values():
            worker.stop()

    def _end_here(self) -> None:
        for worker in self._workers.values():
            worker.end_now()
        self._stop_here()

    async def run(self) -> None:
        """
        Work in all stores until :meth:`stop` is called, then shut down; raises the errors of ``Worker.run``.

        A store that cannot be used raises nothing: its worker is started later.
        """
        if self._loop is not None:
            raise RuntimeError("These workers run, or have run. Make others: StoreWorkers(service).")
        self._loop = asyncio.get_running_loop()
        bodies = [asyncio.create_task(self._serve(store)) for store in self._routed.stores]
        try:
            await asyncio.wait(bodies, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            for body in bodies:
                body.cancel()
            raise
        finally:
            self._stop_here()
            ended = await asyncio.gather(*bodies, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    async def _serve(self, store: str) -> None:
        """Run the worker of a store; if it cannot start, try again."""
        pause = FIRST_PAUSE
        while not self._stop:
            try:
                if (service := await self._opened(store)) is not None and not self._stop:
                    with naming(store):
                        await self._run_one(store, Worker(service))
            except StorageError as error:
                self._failures[store] = str(error)
                self._note_look(store)
                log.warning("store.unusable", extra={"store": store, "error": str(error), "pause": pause})
                await self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                return

    async def _opened(self, store: str) -> QueueService | None:
        """Open a store; None if these workers are stopped meanwhile."""
        if not self._routed.stores[store].is_open:  # The service has tried once, and the other stores do not wait.
            self._failures.setdefault(store, f"Store {store!r}: it is not open yet.")
            self._note_look(store)
        opening, stopping = asyncio.create_task(self._routed.opened(store)), asyncio.create_task(self._stop.wait(None))
        try:
            await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
            return opening.result() if opening.done() else None
        finally:
            stopping.cancel()
            opening.cancel()

    async def _run_one(self, store: str, worker: Worker) -> None:
        self._workers[store] = worker
        starting = asyncio.create_task(self._note_start(store, worker))
        try:
            await worker.run()
        finally:
            starting.cancel()

    async def _note_start(self, store: str, worker: Worker) -> None:
        await worker._started.wait()  # noqa: SLF001 -- one of its own kind
        self._failures.pop(store, None)
        self._note_look(store)

    def _note_look(self, store: str) -> None:
        """Note that the worker of a store has started or failed once; these workers have started when all have."""
        self._seen.add(store)
        if len(self._seen) == len(self._routed.stores):
            self._started.set()


def worker_of(service: QueueService) -> Worker:
    """Make the worker of a service: StoreWorkers if it has several stores."""
    return StoreWorkers(service) if isinstance(service, RoutedQueueService) else Worker(service)
