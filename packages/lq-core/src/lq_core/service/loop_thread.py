"""A thread with an event loop and an open service, for code that has no event loop of its own."""

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, TypeVar

from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError
from lq_core.service.queue_service import QueueService
from lq_core.service.routed_service import service_of
from lq_core.tasks.context import current_loop

Answer = TypeVar("Answer")


class RunningService:
    """An open service in the event loop of another thread."""

    def __init__(self, service: QueueService, loop: asyncio.AbstractEventLoop) -> None:
        self.service: Final = service
        self.loop: Final = loop

    def call(self, coroutine: Coroutine[object, object, Answer]) -> Answer:
        """Run *coroutine* in the loop and return its result; an interrupt cancels it."""
        if current_loop() is self.loop:
            coroutine.close()
            raise ConfigurationError(
                "SyncQueueService was called in its own event loop, where it would wait for itself. In async code, use "
                "QueueService and await it."
            )
        # A hop by run_coroutine_threadsafe(), with its two futures and their locks, takes up to twice as long.
        begun: list[asyncio.Task[Answer]] = []
        ended = SimpleQueue[asyncio.Task[Answer]]()

        def begin() -> None:
            begun.append(self.loop.create_task(coroutine))
            begun[0].add_done_callback(ended.put)

        def cancel() -> None:
            begun[0].cancel()

        try:
            self.loop.call_soon_threadsafe(begin)
        except RuntimeError:  # The event loop has ended.
            coroutine.close()
            raise
        try:
            call = ended.get()
        except BaseException:
            self.loop.call_soon_threadsafe(cancel)
            raise
        if call.cancelled():
            raise CancelledError
        return call.result()


class LoopThread(RunningService):
    """Starts the thread and opens the service; raises as ``QueueService.open`` does."""

    def __init__(self, config: QueueConfig) -> None:
        super().__init__(service_of(config), asyncio.new_event_loop())
        self._thread = threading.Thread(target=self._run, name="lq-sync-service", daemon=True)
        self._thread.start()
        try:
            self.call(self.service.open())
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """Close the service, and end the thread."""
        try:
            self.call(self.service.close())
        finally:
            self._end()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while True:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                continue  # Its own caller gets it; the others still wait for their answers.
            return

    def _end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        with suppress(RuntimeError):
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class OwnThread:
    """Opens a service in a thread of its own when it is first needed, and again after a close or in a forked child."""

    def __init__(self, config: QueueConfig) -> None:
        self._config = config
        self._running: LoopThread | None = None
        self._inherited: list[LoopThread] = []
        """The services of parent processes; a child must not close their connections."""

        self._lock = threading.Lock()
        self._notices_forks = False

    @property
    def is_open(self) -> bool:
        """Whether a service is open."""
        return self._running is not None

    def opened(self) -> RunningService:
        """Return the open service; raises as ``QueueService.open`` does."""
        running = self._running
        if running is None:
            with self._lock:
                running = self._running
                if running is None:
                    self._notice_forks()
                    running = self._running = LoopThread(self._config)
        return running

    def close(self) -> None:
        """Close the service and end the thread; twice is harmless."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.close()

    def _notice_forks(self) -> None:
        if self._notices_forks:
            return
        self._notices_forks = True
        itself = weakref.ref(self)

        def forget_parent() -> None:
            if (thread := itself()) is not None:
                thread._forget_parent()  # noqa: SLF001 -- the hook of a fork cannot be removed, so it holds no service

        os.register_at_fork(after_in_child=forget_parent)

    def _forget_parent(self) -> None:
        self._lock = threading.Lock()
        if self._running is not None:
            self._inherited.append(self._running)
            self._running = None
