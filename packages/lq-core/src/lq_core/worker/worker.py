"""The worker: a presence, with fetchers that claim for it, and sweeps."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Final, Self

from lq_core.execution import BaseExecutionBackend, ExternalExecutionBackend, InProcessExecutionBackend
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.event_log import event_log
from lq_core.presence.presence import Presence
from lq_core.schedules.schedule import Schedule, known_schedules
from lq_core.service import QueueService, RoutedQueueService
from lq_core.tasks.context import current_loop
from lq_core.worker.aging import Aging
from lq_core.worker.fetcher import DispatchFetcher, Fetcher
from lq_core.worker.loop import Loops, Step, Stop
from lq_core.worker.provider_check import check_providers
from lq_core.worker.scheduler import Scheduler
from lq_core.worker.sweeps import Sweeps

log = event_log()

CLAIM: Final = "claim"
"""The name of the loops that claim."""

LOOK_INTERVAL: Final = 1.0
"""Seconds between two looks for workers of this host whose processes have died."""


class Worker:
    """
    Runs records: ``async with Worker(service):`` in your program, or ``await worker.run()``.

    One worker serves all configured and installed execution backends; each record names its own. When the worker
    shuts down, it stops claiming, running tasks have ``shutdown_grace`` seconds, and then it interrupts the others
    without spending a retry.
    """

    def __init__(self, service: QueueService) -> None:
        if not isinstance(service, QueueService):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            raise TypeError(
                f"{service!r:.200} is not a QueueService: `async with QueueService(config) as queue, Worker(queue)`."
            )
        self._service = service
        self._stop = Stop()
        self._hurry = Stop()
        self._started = asyncio.Event()
        self._body: asyncio.Task[None] | None = None
        self._fetchers: list[Fetcher] = []
        self._worker_id: str | None = None
        self._presence: Presence | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def worker_id(self) -> str | None:
        """The first id of the worker; None before its start."""
        return self._worker_id

    @property
    def is_claiming(self) -> bool:
        """Whether the worker has started and was not asked to shut down."""
        return self._started.is_set() and not self._stop

    @property
    def trouble(self) -> str | None:
        """Why the worker has given up its records: how long its claims have failed, and the last error; else None."""
        return None if self._presence is None else self._presence.claim_failures.trouble

    @property
    def dispatched(self) -> int:
        """How many records it has dispatched to external execution backends."""
        return sum(each.dispatched for each in self._fetchers if isinstance(each, DispatchFetcher))

    def stop(self) -> None:
        """Ask the worker to shut down; then :meth:`run` returns. Any thread may call this."""
        self._in_own_loop(self._stop_here)

    def end_now(self) -> None:
        """Ask the worker to end at once: it interrupts running tasks without spending a retry. Any thread may call."""
        self._in_own_loop(self._end_here)

    def _in_own_loop(self, call: Callable[[], None]) -> None:
        if self._loop is None or current_loop() is self._loop:
            call()
        elif self._loop.is_running():
            self._loop.call_soon_threadsafe(call)

    def _stop_here(self) -> None:
        self._stop.set()
        self._service.queue_backend.wake()
        for fetcher in self._fetchers:
            fetcher.nudge()

    def _end_here(self) -> None:
        self._hurry.set()
        self._stop_here()

    async def run(self) -> None:
        """
        Work until :meth:`stop` is called, then shut down.

        Raises the errors of the configuration and of configured execution backends, and MissingProviderError if a
        task of ``QueueConfig.task_modules`` needs a missing provider. Later errors do not end it.
        """
        if self._loop is not None:
            raise RuntimeError("This worker runs, or has run; a worker runs once. Make another one: Worker(service).")
        if isinstance(self._service, RoutedQueueService):
            raise ConfigurationError(
                "A Worker serves one store. Run StoreWorkers(service) for all stores, or Worker(service.stores[name]), "
                f"with name one of {', '.join(self._service.stores)}."
            )
        if self._service.config.has_several_stores:
            raise ConfigurationError(
                "The configuration has several stores, and this QueueService only uses the store 'main'. Open "
                "RoutedQueueService(config), and run StoreWorkers(service)."
            )
        self._loop = asyncio.get_running_loop()
        service, config = self._service, self._service.config
        backends = await service.execution_backends()
        if not backends:
            raise ConfigurationError("No execution backend is installed: pip install lq-local")
        check_providers(service)
        for queue, limits in config.queue_limits.items():
            await service.limit_queue(queue, concurrency=limits.concurrency, rate=limits.rate)
        presence = service.new_presence(
            queues=config.queues, execution_backends=tuple(sorted(backends)), concurrency=config.concurrency
        )
        began = asyncio.get_running_loop().time()
        await presence.start()
        self._worker_id, self._presence = presence.worker_id, presence
        self._fetchers = list(self._made_fetchers(presence, backends))
        loops = Loops(self._stop)
        for fetcher in self._fetchers:
            loops.start(CLAIM, fetcher.step)
        for name, step in self._sweeps(presence, backends, began=began).items():
            loops.start(name, step)
        self._started.set()
        log.info("worker.started", extra={"worker_id": presence.worker_id, "execution_backends": sorted(backends)})
        try:
            await loops.keep()
        finally:
            await self._shut_down(loops, presence)

    async def __aenter__(self) -> Self:
        self._body = asyncio.create_task(self.run())
        started = asyncio.create_task(self._started.wait())
        await asyncio.wait([self._body, started], return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._body.done():
            self._body.result()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._body is not None:
            await self._body

    def _made_fetchers(self, presence: Presence, backends: Mapping[str, BaseExecutionBackend]) -> Iterator[Fetcher]:
        """Make one fetcher for the backends that share the slots of the worker, and one for each other backend."""
        config = self._service.config
        settings = (config.execution_backend, *config.execution_backends)
        configured = {one if isinstance(one, str) else one.execution_backend for one in settings}
        sharing: dict[str, BaseExecutionBackend] = {}
        for name, backend in backends.items():
            if isinstance(backend, ExternalExecutionBackend):
                kind, slots = DispatchFetcher, config.concurrency
            elif isinstance(backend, InProcessExecutionBackend) and backend.slots is not None and name in configured:
                kind, slots = Fetcher, min(backend.slots, config.concurrency)
            else:
                sharing[name] = backend
                continue
            yield kind(self._service, presence, {name: backend}, queues=config.queues, concurrency=slots)
        if sharing:
            yield Fetcher(self._service, presence, sharing, queues=config.queues, concurrency=config.concurrency)

    def _schedules(self) -> Mapping[str, Schedule]:
        """Return the known schedules whose queues are in the store of this worker."""
        config = self._service.config
        known = known_schedules()
        if not config.stores:
            return known
        return {name: one for name, one in known.items() if config.store_of(one.call.options.queue) == config.own_store}

    def _sweeps(
        self, presence: Presence, backends: Mapping[str, BaseExecutionBackend], *, began: float
    ) -> Mapping[str, Step]:
        sweeps = Sweeps(self._service, began=began)

        async def rescue() -> float:
            # After a blocked event loop, the rescue can run before the next beat, and find this worker dead.
            await presence.beat()
            return await sweeps.rescue()

        async def rescue_here() -> float:
            await presence.start()
            if await sweeps.retire_dead():
                await rescue()
            return LOOK_INTERVAL

        steps: dict[str, Step] = {
            "rescue": rescue,
            "rescue here": rescue_here,
            "expire": sweeps.expire,
            "cancel": sweeps.cancel,
            "unblock": sweeps.unblock,
            "delete": sweeps.delete,
            "prune": sweeps.prune,
            "schedule": Scheduler(self._service, declared=self._schedules).step,
        }
        for name, backend in backends.items():
            if isinstance(backend, ExternalExecutionBackend):
                steps[f"reconcile {name}"] = partial(sweeps.reconcile, name, backend)
        if (aging := self._service.config.priority_aging) is not None:
            steps["age"] = Aging(self._service, execution_backends=backends, aging=aging).step
        return steps

    async def _shut_down(self, loops: Loops, presence: Presence) -> None:
        """Wait for running tasks within grace, interrupt the others, and retire; at once if cancelled again."""
        self.stop()
        try:
            await loops.end(but=CLAIM)  # Other workers sweep, too, and some sweeps read the whole table.
            log.info("worker.shutting_down", extra={"worker_id": presence.worker_id, "running": len(presence.held)})
            await self._wait_for(presence)
        finally:
            await presence.close()
        log.info("worker.stopped", extra={"worker_id": presence.worker_id})

    async def _wait_for(self, presence: Presence) -> None:
        """Wait until no task runs, grace is over, or :meth:`end_now` is called."""
        grace = self._service.config.shutdown_grace
        ending = [asyncio.create_task(self._hurry.wait(grace)), asyncio.create_task(presence.wait_idle(grace))]
        try:
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in ending:
                one.cancel()
