"""A thread with an event loop and an open service, for code that has no event loop of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Final, TypeVar

from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError
from lq_core.service.queue_service import QueueService
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
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


class LoopThread(RunningService):
    """Starts the thread and opens the service; raises as ``QueueService.open`` does."""

    def __init__(self, config: QueueConfig) -> None:
        super().__init__(QueueService(config), asyncio.new_event_loop())
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
