"""
A child process: it runs the function of one record at a time, and sends the outcome to its worker.

It ends when its standard input is closed: its worker closes it on purpose, or dies.
"""

import asyncio
import logging
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from operator import attrgetter
from typing import BinaryIO, Final, cast
from uuid import UUID

from msgspec.structs import replace

from lq_core.attempts.attempt import Attempt, Surroundings
from lq_core.attempts.batches import Batches
from lq_core.attempts.deadlines import Deadlines
from lq_core.attempts.injector import Injector
from lq_core.foundation.clock import utc_now
from lq_core.foundation.errors import ConfigurationError, OwnershipLostError
from lq_core.records import lifecycle, steps
from lq_core.records.record import Fence, Progress, QueuedTaskRecord
from lq_core.service.task_modules import import_tasks
from lq_core.tasks.owner import Owner
from lq_core.tasks.provider import Provider
from lq_local import messages
from lq_local.messages import FromChild, Setup, ToChild, packed, received

CLOSE_GRACE: Final = 5.0
"""Seconds that a child has to close its providers before it ends."""

Send = Callable[[FromChild], None]
"""Sends a message to the worker, from any thread. Raises OSError if the worker is gone."""


def main() -> None:
    """Serve the worker until it closes the pipe. Standard output is the pipe, so prints go to standard error."""
    for name in (signal.SIGINT, signal.SIGTERM):
        # A terminal or a service manager signals every process, but only the worker decides when its children end.
        signal.signal(name, _ignore)
    reads, writes, sending = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"), threading.Lock()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)

    def send(message: FromChild) -> None:
        with sending:
            writes.write(packed(message))
            writes.flush()

    setup = received(reads)
    if isinstance(setup, Setup):
        logging.getLogger().addHandler(_ToWorker(send))
        for logger, level in setup.log_levels.items():
            logging.getLogger(logger).setLevel(level)
        asyncio.run(_serve(reads, send, setup))


def _ignore(_signal: int, _frame: object) -> None:
    """Do nothing. The programs that a task starts would inherit SIG_IGN; they do not inherit this function."""


def find_provider(path: str) -> object:
    """Find the object with this path, for example ``shop.tasks:pool``. Raises ImportError or AttributeError."""
    module, _, name = path.partition(":")
    return attrgetter(name)(import_module(module))


async def _serve(reads: BinaryIO, send: Send, setup: Setup) -> None:
    """Run the records that the worker sends, one after the other."""
    try:
        import_tasks(setup.task_modules)
        for module in setup.other_modules:
            with suppress(Exception):  # Each of its records imports it again, and fails with the exception.
                import_module(module)
        injector = Injector([cast("Provider[object]", find_provider(path)) for path in setup.providers], given={})
    except Exception as error:  # noqa: BLE001 -- modules of the application may raise anything
        send(messages.Ready(f"{type(error).__name__}: {error}"))
        return
    injector.open()
    executor = _Executor(send, injector, setup)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def read() -> None:
        while (message := received(reads)) is not None:
            loop.call_soon_threadsafe(executor.take, message)
        loop.call_soon_threadsafe(ended.set)
        time.sleep(CLOSE_GRACE)
        os._exit(1)  # A thread or a task keeps this process from ending.

    threading.Thread(target=read, name="lq worker", daemon=True).start()
    send(messages.Ready())
    await ended.wait()
    await injector.close()


class _Executor:
    """Runs attempts, and sends their reports and questions to the worker."""

    def __init__(self, send: Send, injector: Injector, setup: Setup) -> None:
        self._send = send
        self._surroundings = Surroundings(
            now=lambda: self._start + timedelta(seconds=time.monotonic()),
            max_result_bytes=setup.max_result_bytes,
            unknown_task_patience=setup.unknown_task_patience,
            deadlines=Deadlines(),
            injector=injector,
            batches=Batches(injector, free=lambda _: False, hold=lambda _: None),
            is_alone=lambda _: True,
            owner=Owner(report=self._report, keep=self._keep, read=self._read, complete=_refuse_to_complete),
            waits_for_threads=True,
        )
        self._start = utc_now()
        """The time by the clock of the queue backend when ``time.monotonic()`` was 0."""

        self._attempt: Attempt | None = None
        self._body: asyncio.Task[None] | None = None
        self._answer: asyncio.Future[messages.Predecessors] | None = None
        self._keeping = deque[asyncio.Future[messages.Kept]]()
        """One for each step that the worker stores, in order."""

    def take(self, message: ToChild) -> None:
        """Handle a message of the worker."""
        if isinstance(message, messages.Run):
            self._send(messages.Begun())
            self._start = message.now - timedelta(seconds=time.monotonic())
            self._body = asyncio.create_task(self._perform(message))
        elif isinstance(message, messages.Stop):
            if self._attempt is not None:
                self._attempt.stop(message.reason)
        elif isinstance(message, messages.Predecessors) and self._answer is not None and not self._answer.done():
            self._answer.set_result(message)
        elif isinstance(message, messages.Kept) and not (keeping := self._keeping.popleft()).done():
            keeping.set_result(message)

    async def _perform(self, run: messages.Run) -> None:
        attempt = self._attempt = Attempt(run.record, self._surroundings)
        try:
            if run.module is not None:
                import_module(run.module)
        except Exception as error:  # noqa: BLE001 -- modules of the application may raise anything
            after = attempt.ended_by(error)
        else:
            after = await attempt.perform()
        self._attempt = None
        self._send(messages.Ended(after, _pickled(attempt.context.error)))

    async def _report(self, fence: Fence, said: Progress | str) -> None:
        attempt = self._attempt
        if attempt is None or (attempt.record.id, attempt.record.epoch) != fence:
            return
        if isinstance(said, Progress):
            attempt.record = replace(attempt.record, progress=said)
        else:
            attempt.record = lifecycle.note(attempt.record, message=said, at=self._surroundings.now())
        self._send(messages.Said(said))

    async def _keep(self, fence: Fence, event: str, name: str, value: str) -> None:
        attempt = self._attempt
        if attempt is None or (attempt.record.id, attempt.record.epoch) != fence:
            raise OwnershipLostError(*fence)
        at, most_bytes = self._surroundings.now(), self._surroundings.max_result_bytes
        attempt.record = steps.keep(attempt.record, event, name, value, at=at, most_bytes=most_bytes)
        keeping: asyncio.Future[messages.Kept] = asyncio.get_running_loop().create_future()
        self._keeping.append(keeping)
        self._send(messages.Keep(event, name, value))
        answer = await keeping
        if answer.error is not None:
            raise cast("Exception", pickle.loads(answer.error))  # noqa: S301 -- the worker made it

    async def _read(self, _: Sequence[UUID]) -> Sequence[QueuedTaskRecord]:
        if self._answer is None or self._answer.done():
            self._answer = asyncio.get_running_loop().create_future()
            self._send(messages.Ask())
        answer = await asyncio.shield(self._answer)
        if answer.problem is not None:
            raise RuntimeError(f"The worker could not read the predecessors: {answer.problem}")
        return answer.records


async def _refuse_to_complete(_fence: Fence, _connection: object, _result: object) -> None:
    raise ConfigurationError(
        "complete_in() does not work in a child process, which has no queue backend: run the task with "
        "execution_backend='local'."
    )


def _pickled(error: BaseException | None) -> bytes | None:
    try:
        return error and pickle.dumps(error)
    except Exception:  # noqa: BLE001 -- exceptions of the application may hold anything
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


class _ToWorker(logging.Handler):
    """Sends log records to the worker, which logs them."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            facts = {name: _plain(value) for name, value in record.__dict__.items() if name not in {"args", "exc_info"}}
            facts["msg"] = record.getMessage()
            if record.exc_info:
                facts["exc_text"] = logging.Formatter().formatException(record.exc_info)
            self._send(messages.Logged(facts))
        except Exception:  # noqa: BLE001 -- a value of the application may raise anything
            self.handleError(record)


def _plain(value: object) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
