"""
One attempt, from the claimed record to the step it ends with: resolve, decode, run in time, encode.

Every execution backend shares this pipeline. It never raises for what a task does: one poison record fails alone.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from enum import StrEnum
from functools import partial
from math import inf
from typing import Final, cast
from uuid import UUID

import msgspec
from msgspec import Struct

from lq_core import lifecycle
from lq_core.backoff import retry_delay
from lq_core.codec import size_of
from lq_core.context import NonRetryable, RetryLater, TaskContext, enter_context, leave_context
from lq_core.deadlines import Deadlines
from lq_core.errors import MissingProviderError, PayloadTooLargeError
from lq_core.event_log import event_log
from lq_core.injector import Injector
from lq_core.record import Place, Progress, QueuedTaskRecord, TaskFailure
from lq_core.task import AnyTask, AsyncTask, find_task
from lq_core.thread import run_in_thread

log = event_log()

INSTRUCTIONS: Final = (RetryLater, NonRetryable, KeyboardInterrupt, GeneratorExit)
"""What counts whenever it is raised, also when the time is up: the task's own word, and the end of the process."""

TRACEBACK_LIMIT: Final = 8_000
"""How many characters of a traceback a record keeps."""

THREAD_GOES_ON: Final = "Its thread cannot be stopped, and was still running then."
"""What a record is told of a plain function that nobody waits for any more."""


class StopReason(StrEnum):
    """Why a running task is asked to stop."""

    CANCELLED = "cancelled"
    """Somebody cancelled the record."""

    LOST = "lost"
    """The record belongs to somebody else by now."""

    TIMED_OUT = "timed out"
    """It has run for as long as it may."""

    STOPPING = "stopping"
    """The worker is shutting down, and the time of grace is over."""


class Surroundings(Struct, frozen=True, kw_only=True):
    """What attempts need of the process that they run in."""

    now: Callable[[], datetime]
    max_result_bytes: int
    deadlines: Deadlines
    injector: Injector
    is_alone: Callable[["Attempt"], bool]
    """Whether an attempt is the only one in an asyncio task that was made for it."""

    report: Callable[[Place, Progress | str], Awaitable[None]]
    read: Callable[[Sequence[UUID]], Awaitable[Sequence[QueuedTaskRecord]]]
    complete: Callable[[Place, object, object], Awaitable[None]]


class Attempt:
    """
    A handle on one running attempt: what it runs, and the way to stop it.

    It belongs to the asyncio task that makes it and calls :meth:`perform`.
    """

    __slots__ = (
        *("record", "completed", "body", "context"),
        *("_around", "_asked_at", "_cancels", "_cancels_before", "_left_thread", "_reasons", "_runs", "_would_repeat"),
    )

    def __init__(self, record: QueuedTaskRecord, around: Surroundings) -> None:
        self.record = record
        self.completed: QueuedTaskRecord | None = None
        """What the task has recorded in a transaction of its own, which may have been committed or not."""
        body = asyncio.current_task()
        assert body is not None
        self.body = body
        """The asyncio task that performs it."""
        self._around = around
        self._cancels_before = body.cancelling()
        self._runs = False
        self._would_repeat = False
        self._left_thread = False
        self._reasons: tuple[StopReason, ...] = ()
        self._asked_at: float | None = None
        self._cancels = 0
        # Nothing here refers back to the attempt: one that is over is gone at once, without the garbage collector.
        self.context = TaskContext(
            record, loop=body.get_loop(), report=around.report, read=around.read, complete=around.complete
        )

    @property
    def stop_reason(self) -> StopReason | None:
        """Why it was asked to stop, the first time; None if it was not."""
        return self._reasons[0] if self._reasons else None

    @property
    def is_abandoned(self) -> bool:
        """
        Whether the asyncio task that performs it has been cancelled by somebody else.

        Where that asyncio task is there for this attempt alone, nobody but the task's own function would do that.
        """
        return self.body.cancelling() > self._cancels_before and not self._around.is_alone(self)

    def stop(self, reason: StopReason) -> None:
        """Cancel the task's function, if it is running, once for each reason; the first one is what is recorded."""
        if reason in self._reasons:
            return
        self._asked_at = self._asked_at or self.body.get_loop().time()
        self._reasons += (reason,)
        self.context.stop()
        if self._runs:
            self.body.cancel()
            self._cancels += 1

    def overstays(self, seconds: float) -> bool:
        """Whether it goes on although it was asked to stop so long ago; said once."""
        if self._asked_at is None or self.body.get_loop().time() < self._asked_at + seconds:
            return False
        self._asked_at = inf
        return True

    async def perform(self) -> QueuedTaskRecord:
        """
        Run the attempt and return the record's next step, not yet stored.

        When the caller is cancelled, the record is interrupted: that nobody waits is no reason to end it.
        """
        try:
            task = find_task(self.record.task_name)
            call = self._decoded(task)
        except Exception as error:  # noqa: BLE001 -- the user's own types may raise anything while they are decoded
            return self._failed(error, retry=False)
        if self.stop_reason is not None:
            return self._stopped()
        entered = enter_context(self.context)
        try:
            result = await (self._called_with_injected if task.codec.injected else self._called)(task, call)
        except (KeyboardInterrupt, GeneratorExit):
            raise  # This process, or its event loop, is being ended; another worker will rescue the record.
        except BaseException as error:  # noqa: BLE001 -- a task may raise anything, and fails alone
            return self.ended_by(error)
        finally:
            self._asked_at = inf  # It has stopped, whatever its record still waits for.
            leave_context(entered)
        return lifecycle.complete(self.record, result=result, at=self._around.now())

    def ended_by(self, error: BaseException) -> QueuedTaskRecord:
        """Say what comes of the record when *error* was raised by the function, or kept it from being called."""
        self.context.error = error
        if isinstance(error, asyncio.CancelledError):
            return self._stopped()
        if isinstance(error, RetryLater):
            return lifecycle.snooze(self.record, delay=error.delay, message=error.message, at=self._around.now())
        if self._would_repeat or isinstance(error, NonRetryable | MissingProviderError | PayloadTooLargeError):
            return self._failed(error, retry=False)
        # A function that was asked to stop may say so with an exception of its own: that is no failure.
        has_failed = self.stop_reason in (None, StopReason.TIMED_OUT)
        return self._failed(error, retry=True) if has_failed else self._stopped()

    def _decoded(self, task: AnyTask) -> Callable[..., object]:
        try:
            return task.run(self.context, self.record.arguments)
        except msgspec.DecodeError as error:
            raise TypeError(f"The arguments do not fit {task.name}{task.codec.signature}: {error}") from None

    async def _called_with_injected(self, task: AnyTask, call: Callable[..., object]) -> str:
        """
        Call the function with what it asks for, and close that when it has ended.

        Opening counts in the timeout, closing does not; neither stops for a cancellation that came too late for the
        function. What is closed sees the exception, and cannot swallow it.
        """
        raised: BaseException | None = None
        try:
            async with AsyncExitStack() as opened:
                try:
                    return await self._called(task, call, opened)
                except BaseException as error:
                    raised = error
                    raise
            raise raised or RuntimeError("The function has ended without a result.")
        finally:
            del raised  # Its traceback holds this very frame.

    async def _called(self, task: AnyTask, call: Callable[..., object], opened: AsyncExitStack | None = None) -> str:
        """Call the function within the timeout, and encode what it returns."""
        timeout, deadlines = self.record.timeout, self._around.deadlines
        if timeout is not None:
            deadlines.add(self, timeout, self._end_late)
        self._runs = True
        try:
            if opened is not None:
                call = await self._with_injected(task, call, opened)
            running = call() if isinstance(task, AsyncTask) else self._in_thread(task, call)
            value = await cast("Awaitable[object]", running)
        except BaseException as error:
            if self.stop_reason is not StopReason.TIMED_OUT or isinstance(error, INSTRUCTIONS):
                raise
            late = f"The task ran longer than its timeout of {timeout:g} s."
            if self._left_thread:
                late = f"{late} {THREAD_GOES_ON}"
            cause = error.__cause__ if isinstance(error, asyncio.CancelledError) else error
            raise TimeoutError(late).with_traceback(error.__traceback__) from cause
        finally:
            self._runs = False
            if timeout is not None:
                deadlines.withdraw(self)
            if self._cancels:
                # Whatever the function made of it: the cancellation was meant for the function, and ends here, also
                # one that it could not notice, since it came from the function itself just before its end.
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
                for _ in range(self._cancels):
                    self.body.uncancel()
        self._would_repeat = True  # What cannot be stored now could not be the next time.
        result = self.encoded(task, value)
        self._would_repeat = False
        return result

    def _end_late(self) -> None:
        self.stop(StopReason.TIMED_OUT)

    async def _with_injected(
        self, task: AnyTask, call: Callable[..., object], opened: AsyncExitStack
    ) -> Callable[..., object]:
        injected = await self._around.injector.provide(task.name, task.codec.injected, self.context, opened)
        return partial(call, **injected)

    async def _in_thread(self, task: AnyTask, call: Callable[[], object]) -> object:
        facts = {"task_name": task.name, "record_id": str(self.record.id), "attempt": self.record.attempt}
        try:
            return await run_in_thread(call, name=task.name, facts=facts)
        except asyncio.CancelledError:
            self._left_thread = True
            raise

    def encoded(self, task: AnyTask, value: object) -> str:
        """Encode a result. Raises TypeError and PayloadTooLargeError for one that is not kept; no retry would help."""
        try:
            result = task.codec.encode_result(value)
        except Exception as error:  # noqa: BLE001 -- the encoders of the user's own types may raise anything
            raise TypeError(f"The result of {task.name} cannot be stored as JSON: {error}") from None
        size = size_of(result)
        if size > self._around.max_result_bytes:
            raise PayloadTooLargeError(f"The result of {task.name}", size, self._around.max_result_bytes)
        return result

    def _stopped(self) -> QueuedTaskRecord:
        if self.stop_reason is None:
            if not self.is_abandoned:
                return self._failed(RuntimeError("The task cancelled itself."), retry=True)
            return lifecycle.interrupt(self.record, at=self._around.now(), message="its caller was cancelled")
        if self.stop_reason is StopReason.CANCELLED:
            left = TaskFailure(type="ThreadAbandoned", message=THREAD_GOES_ON) if self._left_thread else None
            return lifecycle.cancel(self.record, at=self._around.now(), failure=left)
        return lifecycle.interrupt(self.record, at=self._around.now(), message=f"stopped: {self.stop_reason}")

    def _failed(self, error: BaseException, *, retry: bool) -> QueuedTaskRecord:
        self.context.error = error
        delay = retry_delay(self.record, error) if retry else None
        return lifecycle.retry_or_fail(self.record, failure=failure_of(error), delay=delay, at=self._around.now())


def failure_of(error: BaseException) -> TaskFailure:
    """Keep of an exception what a record can hold: its type, message, and traceback, shortened in the middle."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next  # The first frames are our own calls.
    trace = "".join(traceback.format_exception(type(error), error, frames)) if frames else ""
    if len(trace) > TRACEBACK_LIMIT:
        half = TRACEBACK_LIMIT // 2
        trace = f"{trace[:half]}\n[... {len(trace) - TRACEBACK_LIMIT} characters left out ...]\n{trace[-half:]}"
    return TaskFailure(type=type(error).__name__, message=_storable(_message(error)), traceback=_storable(trace))


def _message(error: BaseException) -> str:
    try:
        return str(error)[:TRACEBACK_LIMIT]
    except Exception:  # noqa: BLE001 -- the user's exception cannot even be printed
        return "(this exception cannot be printed)"


def _storable(text: str) -> str:
    """Spell out what UTF-8 has no bytes for: Python has it in odd file names, and no database takes it."""
    return text.encode(errors="backslashreplace").decode()
