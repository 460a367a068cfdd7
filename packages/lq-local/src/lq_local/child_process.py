"""The worker's side of a child process: start it, give it one record at a time, kill it."""

import asyncio
import logging
import pickle
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from datetime import datetime
from typing import Final, cast

import msgspec

from lq_core.attempts.attempt import Attempt, StopReason
from lq_core.foundation.errors import ConfigurationError, QueueError
from lq_core.foundation.event_log import event_log
from lq_core.foundation.import_path import module_of
from lq_core.records.record import Progress, QueuedTaskRecord
from lq_core.tasks.known_tasks import known_tasks
from lq_local import messages
from lq_local.messages import HEAD, FromChild, Setup, ToChild, packed

log = event_log()

# The path comes first, so that the child finds the same modules; -P keeps its working directory out of it.
PROGRAM: Final = "import sys; sys.path[:] = sys.argv[1:]; del sys.argv[1:]; from lq_local.child import main; main()"

START_LIMIT: Final = 60.0
"""Seconds that a child has to import the task modules."""

END_GRACE: Final = 6.0
"""Seconds that a child has to end after its pipe is closed."""


class ProcessDiedError(QueueError):
    """The child process that ran the task died; tasks in other child processes continue."""

    def __init__(self, pid: int, code: int) -> None:
        super().__init__(pid, code)
        self.pid = pid
        self.code = code

    def __str__(self) -> str:
        how = f"exited with code {self.code}"
        if self.code < 0:
            names = {one.value: one.name for one in signal.Signals}
            how = f"was killed ({names.get(-self.code, -self.code)})"
        cause = ", probably because memory ran out" if self.code == -signal.SIGKILL else ""
        return f"The child process {self.pid} {how} while it ran the task{cause}."


async def start_process() -> Process:
    """Start a child process, which waits for its :class:`Setup`."""
    command = [sys.executable, "-P", *(f"-W{one}" for one in sys.warnoptions), "-c", PROGRAM, *sys.path]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)


class ChildProcess:
    """One child process; :meth:`set_up` comes first."""

    def __init__(self, process: Process, *, stop_grace: float) -> None:
        self._process = process
        self._stop_grace = stop_grace
        self._inbox = asyncio.Queue[FromChild | None]()
        self._reading = asyncio.create_task(self._read())
        self._killed = False
        self.has_begun = False
        """Whether the child has received the last record."""

    @property
    def is_alive(self) -> bool:
        """Whether the child can run a record."""
        return self._process.returncode is None and not self._killed

    async def set_up(self, setup: Setup) -> None:
        """Wait until the process has imported the task modules. Raises ConfigurationError."""
        began = time.monotonic()
        try:
            self._send(setup)
            async with asyncio.timeout(START_LIMIT):
                answer = await self._inbox.get()
        except BaseException as error:
            self.kill()
            if isinstance(error, TimeoutError):
                raise ConfigurationError(f"A child process did not start within {START_LIMIT:g} s.") from None
            raise
        if not isinstance(answer, messages.Ready) or answer.problem is not None:
            problem = answer.problem if isinstance(answer, messages.Ready) else await self._death()
            raise ConfigurationError(f"A child process cannot start: {problem}")
        log.info("process.started", extra={"pid": self._process.pid, "seconds": round(time.monotonic() - began, 3)})

    async def run(self, attempt: Attempt, *, now: datetime) -> QueuedTaskRecord:
        """
        Run the function of a record, and return the next step of the record; *now* is the time of the queue backend.

        A cancellation cancels the function; if the function continues, the process is killed. Raises ProcessDiedError.
        """
        self.has_begun = False
        record = attempt.record
        task = known_tasks().get(record.task_name)
        self._send(messages.Run(record=record, module=task and module_of(task.function), now=now))
        ending = asyncio.create_task(self._listen(attempt))
        try:
            await asyncio.wait([ending])
        except asyncio.CancelledError:
            self._send(messages.Stop(attempt.stop_reason or StopReason.STOPPING))
            try:
                await asyncio.wait([ending], timeout=self._stop_grace)
            finally:
                if not ending.done():
                    self.kill(record)
                    ending.cancel()
            if ending.cancelled() or not ending.done() or attempt.stop_reason is None:
                raise
        ended = ending.result()
        if ended.error is not None:
            attempt.context.error = _unpickled(ended.error)
        return ended.record

    def kill(self, record: QueuedTaskRecord | None = None) -> None:
        """End the process at once, and log the *record* whose function did not stop."""
        self._killed = True
        with suppress(ProcessLookupError):
            self._process.kill()
        if record is not None:
            facts = {"pid": self._process.pid, "task_name": record.task_name, "record_id": str(record.id)}
            log.warning("process.killed", extra={**facts, "grace": self._stop_grace})

    async def close(self) -> None:
        """Let the process close its providers and end; kill it if that takes too long."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait([self._reading], timeout=END_GRACE)
        finally:
            if not self._reading.done():
                self.kill()
        await self._reading

    def _send(self, message: ToChild) -> None:
        assert self._process.stdin is not None
        # A child that is gone reads nothing: then the inbox ends.
        self._process.stdin.write(packed(message))

    async def _listen(self, attempt: Attempt) -> messages.Ended:
        """Answer a running task until it has ended. Raises ProcessDiedError."""
        while (message := await self._inbox.get()) is not None:
            if isinstance(message, messages.Ended):
                return message
            if isinstance(message, messages.Begun):
                self.has_begun = True
            elif isinstance(message, messages.Said):
                said = message.said
                if isinstance(said, Progress):
                    await attempt.context.progress(said.done, said.total, said.message)
                else:
                    await attempt.context.log(said)
            elif isinstance(message, messages.Keep):
                self._send(await _kept(attempt, message))
            elif isinstance(message, messages.Ask):
                self._send(await _predecessors(attempt))
        raise await self._death()

    async def _read(self) -> None:
        """Log what the child logs, and put its other messages into the inbox; None when it is gone."""
        output = self._process.stdout
        assert output is not None
        try:
            while head := await output.readexactly(HEAD):
                data = await output.readexactly(int.from_bytes(head, "big"))
                message = msgspec.msgpack.decode(data, type=FromChild)
                if isinstance(message, messages.Logged):
                    _log(message)
                else:
                    self._inbox.put_nowait(message)
        except asyncio.IncompleteReadError:
            await asyncio.wait([asyncio.create_task(self._process.wait())], timeout=END_GRACE)
        finally:
            self.kill()  # Without its pipe, a child is of no use.
            self._inbox.put_nowait(None)

    async def _death(self) -> ProcessDiedError:
        return ProcessDiedError(self._process.pid, await self._process.wait())


async def _kept(attempt: Attempt, step: messages.Keep) -> messages.Kept:
    try:
        await attempt.context.keep(step.event, step.name, step.value)
    except Exception as error:  # noqa: BLE001 -- the task fails with it
        return messages.Kept(pickle.dumps(error))
    return messages.Kept()


async def _predecessors(attempt: Attempt) -> messages.Predecessors:
    try:
        return messages.Predecessors(await attempt.context.predecessors())
    except Exception as error:  # noqa: BLE001 -- the task fails with it
        return messages.Predecessors([], problem=f"{type(error).__name__}: {error}")


def _log(message: messages.Logged) -> None:
    record = logging.makeLogRecord(message.facts)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _unpickled(error: bytes) -> BaseException:
    try:
        return cast("BaseException", pickle.loads(error))  # noqa: S301 -- a child of this process made it
    except Exception as problem:  # noqa: BLE001 -- exceptions of the application may need what is not here
        return RuntimeError(f"The exception of the task cannot be read: {problem}")
