"""
One attempt, from the claimed record to its next step: find the task, decode, run within the timeout, encode.

Every execution backend uses this pipeline. It never raises an error of a task: a poison record fails alone.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from datetime import datetime
from enum import StrEnum
from functools import partial
from math import inf
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec
from msgspec import Struct

from lq_core.attempts.batches import Batches
from lq_core.attempts.deadlines import Deadlines
from lq_core.attempts.failure import failure_of
from lq_core.attempts.injector import Injector, OpenedValues
from lq_core.attempts.thread import awaited, run_in_thread, to_the_end
from lq_core.foundation.errors import MissingProviderError, PayloadTooLargeError, QueueError, StepResultError
from lq_core.foundation.exception_groups import causes_of
from lq_core.foundation.quick_enum import quick_enum
from lq_core.records import lifecycle, steps
from lq_core.records.backoff import is_never_retried, retry_delay
from lq_core.records.record import QueuedTaskRecord, TaskFailure
from lq_core.tasks.codec import size_of
from lq_core.tasks.context import CURRENT, NonRetryable, RetryLater, TaskContext
from lq_core.tasks.known_tasks import find_task
from lq_core.tasks.owner import Owner
from lq_core.tasks.signals import SignalAwaited
from lq_core.tasks.task import AnyTask, AsyncTask, as_batch

Value = TypeVar("Value")

FINAL: Final = (NonRetryable, MissingProviderError, PayloadTooLargeError, StepResultError)
"""Exceptions that a retry would not help."""

INSTRUCTIONS: Final = (RetryLater, NonRetryable, SignalAwaited, KeyboardInterrupt, GeneratorExit)
"""Exceptions that have their meaning even after the timeout: of the task, or of the end of the process."""

THREAD_GOES_ON: Final = "Its thread cannot be stopped and was still running."
"""The message of a record whose plain function was left running."""


@quick_enum
class StopReason(StrEnum):
    """Why a running task is asked to stop."""

    CANCELLED = "cancelled"
    """The record was cancelled."""

    LOST = "lost"
    """The record has another owner now."""

    TIMED_OUT = "timed out"
    STOPPING = "stopping"
    """The worker shuts down, and ``shutdown_grace`` is over."""


class Surroundings(Struct, frozen=True, kw_only=True):
    """What attempts need from the process in which they run."""

    now: Callable[[], datetime]
    max_result_bytes: int
    unknown_task_patience: float
    deadlines: Deadlines
    injector: Injector
    batches: Batches
    is_alone: Callable[["Attempt"], bool]
    """Whether an attempt is the only one in an asyncio task that was made for it."""

    owner: Owner
    waits_for_threads: bool = False
    """Whether to wait for a plain function that is asked to stop; if it takes too long, this process is ended."""


class Attempt:
    """
    One running attempt, and the way to stop it.

    The asyncio task that makes it must also call :meth:`perform`, or hand it to :meth:`apart`.
    """

    __slots__ = (
        *("_around", "_asked_at", "_cancels", "_cancels_before", "_has_begun", "_left_thread", "_perform", "_reasons"),
        *("_runs", "_would_repeat", "body", "caller", "completed", "context", "record"),
    )

    def __init__(self, record: QueuedTaskRecord, around: Surroundings, perform: "Perform | None" = None) -> None:
        self.record = record
        self.completed: QueuedTaskRecord | None = None
        """What the task has recorded in a transaction of its own, committed or not."""
        caller = asyncio.current_task()
        assert caller is not None
        self.caller = caller
        self.body: asyncio.Task[Any] = caller
        self._around = around
        self._perform = perform
        self._cancels_before = caller.cancelling()
        self._runs = self._has_begun = False
        self._would_repeat = False
        self._left_thread = False
        self._reasons: tuple[StopReason, ...] = ()
        self._asked_at: float | None = None
        self._cancels = 0
        # Nothing here refers back to the attempt, so that it needs no garbage collector at its end.
        self.context = TaskContext(record, around.owner, loop=caller.get_loop())

    @property
    def stop_reason(self) -> StopReason | None:
        """The first reason why it was asked to stop; None if it was not."""
        return self._reasons[0] if self._reasons else None

    @property
    def is_abandoned(self) -> bool:
        """
        Whether code outside of lq has cancelled the asyncio task of its caller.

        If that asyncio task was made for this attempt alone, only the task's own function can have done so.
        """
        return self.caller.cancelling() > self._cancels_before and not self._around.is_alone(self)

    async def apart(self, running: Coroutine[Any, Any, Value]) -> Value:
        """
        Perform it in an asyncio task of its own, which is cancelled with its caller.

        So the caller keeps its context variables, and a cancellation inside of the function, as by a task group, is
        not taken for one of the caller.
        """
        self.body = asyncio.create_task(running)
        try:
            return await self.body
        except asyncio.CancelledError:
            if self.caller.cancelling() > self._cancels_before:
                raise
            raise QueueError("The asyncio task of lq that runs the record was cancelled before it began.") from None

    def stop(self, reason: StopReason) -> None:
        """Cancel the task's function, if it runs, once for each reason; the first reason is recorded."""
        if reason in self._reasons:
            return
        self._asked_at = self._asked_at or self.body.get_loop().time()
        self._reasons += (reason,)
        self.context.stop()
        if self._runs:
            self.body.cancel()
            self._cancels += 1

    def overstays(self, seconds: float) -> bool:
        """Whether it still runs *seconds* after it was asked to stop; True only once."""
        if self._asked_at is None or self.body.get_loop().time() < self._asked_at + seconds:
            return False
        self._asked_at = inf
        return True

    def is_late(self) -> bool:
        """Whether its timeout is over, although it still runs."""
        return self._around.deadlines.is_over(self)

    def perform(self) -> Coroutine[None, None, QueuedTaskRecord]:
        """
        Run the attempt and return the record's next step, not yet stored.

        If the caller is cancelled, the record is interrupted.
        """
        return self._perform_here() if self._perform is None else self._perform_elsewhere(self._perform)

    async def _perform_elsewhere(self, perform: "Perform") -> QueuedTaskRecord:
        try:
            return await self._within_timeout(perform(self))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it concerns this record alone
            return self.ended_by(error)
        finally:
            self._asked_at = inf

    async def _perform_here(self) -> QueuedTaskRecord:
        try:
            task = find_task(self.record.task_name)
            try:
                call = task.run(self.context, self.record.arguments)
            except msgspec.ValidationError as error:
                raise TypeError(f"The arguments do not fit {task.name}{task.codec.signature}: {error}") from None
        except msgspec.DecodeError as error:
            return self._failed(TypeError(f"The arguments are damaged: {error}"), retry=False)
        except Exception as error:  # noqa: BLE001 -- the user's own types may raise anything while they are decoded
            return self._passed_on(error)
        if self.stop_reason is not None:
            return self._stopped(asyncio.CancelledError())
        entered = CURRENT.set(self.context)
        try:
            if task.codec.injected and as_batch(task) is None:
                result = await self._called_with_injected(task, call)
            else:
                result = self._result(task, await self._within_timeout(self._running(task, call)))
        except (KeyboardInterrupt, GeneratorExit):
            raise  # This process, or its event loop, ends; another worker rescues the record.
        except BaseException as error:  # noqa: BLE001 -- a task may raise anything, and fails alone
            return self.ended_by(error)
        finally:
            self._asked_at = inf  # It has stopped.
            CURRENT.reset(entered)
        return lifecycle.complete(self.record, result=result, at=self._around.now())

    def ended_by(self, error: BaseException) -> QueuedTaskRecord:
        """Return the record's next step after *error*, from the function or from before its call."""
        self.context.error = error
        causes = causes_of(error)
        if isinstance(causes[0], asyncio.CancelledError):
            return self._stopped(error)
        later = [one for one in causes if isinstance(one, RetryLater)]
        if any(isinstance(one, FINAL) for one in causes) or (
            self._would_repeat or (later and is_never_retried(self.record, error))
        ):
            return self._failed(error, retry=False)
        if waits := [one for one in causes if isinstance(one, SignalAwaited)]:
            self.context.error = None
            return steps.wait(self.record, waits[0].name, timeout=waits[0].timeout, at=self._around.now())
        if later:
            longest = max(later, key=lambda one: one.delay)
            return lifecycle.snooze(self.record, delay=longest.delay, message=longest.message, at=self._around.now())
        if self.stop_reason in (None, StopReason.TIMED_OUT):
            return self._failed(error, retry=True)
        return self._stopped(error)  # A function that was asked to stop may raise an exception of its own.

    async def _called_with_injected(self, task: AnyTask, call: Callable[..., object]) -> str:
        """
        Call the function with its injected values, and close them when it has ended.

        The timeout counts opening, but not closing.
        """
        async with OpenedValues() as opened:
            return self._result(task, await self._within_timeout(self._injected(task, call, opened)))

    async def _injected(self, task: AnyTask, call: Callable[..., object], opened: OpenedValues) -> object:
        injected = await self._around.injector.provide(task.name, task.codec.injected, self.context, opened)
        return await self._running(task, partial(call, **injected))

    def _running(self, task: AnyTask, call: Callable[..., object]) -> Awaitable[object]:
        if (batch := as_batch(task)) is not None:
            return self._around.batches.join(batch, call(), self.context, self.body)
        return cast("Awaitable[object]", call()) if isinstance(task, AsyncTask) else self._in_thread(task, call)

    def _result(self, task: AnyTask, value: object) -> str:
        if self.completed is not None:
            return "null"  # complete_in() has stored the result.
        self._would_repeat = True  # A result that cannot be stored would fail again.
        result = self.encoded(task, value)
        self._would_repeat = False
        return result

    async def _within_timeout(self, running: Awaitable[Value]) -> Value:
        timeout, deadlines = self.record.timeout, self._around.deadlines
        if timeout is not None:
            deadlines.add(self, timeout, self._time_out)
        self._runs = self._has_begun = True
        try:
            return await running
        except BaseException as error:
            if self.stop_reason is not StopReason.TIMED_OUT or any(
                isinstance(one, INSTRUCTIONS) for one in causes_of(error)
            ):
                raise
            late = f"The task ran longer than its timeout of {timeout:g} s."
            if self._left_thread:
                late = f"{late} {THREAD_GOES_ON}"
            raise TimeoutError(late).with_traceback(error.__traceback__) from (
                error.__cause__ if isinstance(error, asyncio.CancelledError) else error
            )
        finally:
            self._runs = False
            if timeout is not None:
                deadlines.withdraw(self)
            if self._cancels:
                # The cancellation was meant for the function and ends here, even if the function did not notice it.
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
                for _ in range(self._cancels):
                    self.body.uncancel()

    def _time_out(self) -> None:
        self.stop(StopReason.TIMED_OUT)

    async def _in_thread(self, task: AnyTask, call: Callable[[], object]) -> object:
        facts = {"task_name": task.name, "record_id": str(self.record.id), "attempt": self.record.attempt}
        context = copy_context()
        running = run_in_thread(call, name=task.name, facts=facts, context=context)
        try:
            value = await (to_the_end(running) if self._around.waits_for_threads else running)
        except asyncio.CancelledError:
            self._left_thread = self.stop_reason is not None and not self._around.waits_for_threads
            raise
        if not inspect.isawaitable(value):
            return value
        awaiting = awaited(value)
        if self.stop_reason is not None:  # It was cancelled while it waited for the thread.
            awaiting.close()
            raise asyncio.CancelledError
        return await asyncio.create_task(awaiting, context=context)

    def encoded(self, task: AnyTask, value: object) -> str:
        """Encode a result. Raises TypeError or PayloadTooLargeError if it cannot be stored."""
        try:
            result = task.codec.encode_result(value)
        except Exception as error:  # noqa: BLE001 -- the encoders of the user's own types may raise anything
            raise TypeError(f"The result of {task.name} cannot be stored as JSON: {error}") from None
        size = size_of(result)
        if size > self._around.max_result_bytes:
            raise PayloadTooLargeError(f"The result of {task.name}", size, self._around.max_result_bytes)
        return result

    def _stopped(self, error: BaseException) -> QueuedTaskRecord:
        if self.stop_reason is None:
            if not self.is_abandoned:
                return self._failed(error, retry=True)
            return self._interrupted("its caller was cancelled")
        if self.stop_reason is StopReason.CANCELLED:
            left = TaskFailure(type="ThreadAbandoned", message=THREAD_GOES_ON) if self._left_thread else None
            return lifecycle.cancel(self.record, at=self._around.now(), failure=left)
        return self._interrupted(f"stopped: {self.stop_reason}")

    def _interrupted(self, message: str) -> QueuedTaskRecord:
        return lifecycle.interrupt(self.record, at=self._around.now(), message=message, has_begun=self._has_begun)

    def _passed_on(self, error: Exception) -> QueuedTaskRecord:
        self.context.error = error
        patience, at = self._around.unknown_task_patience, self._around.now()
        return lifecycle.pass_on(self.record, failure=failure_of(error), patience=patience, at=at)

    def _failed(self, error: BaseException, *, retry: bool) -> QueuedTaskRecord:
        self.context.error = error
        delay = retry_delay(self.record, error) if retry else None
        return lifecycle.retry_or_fail(self.record, failure=failure_of(error), delay=delay, at=self._around.now())


Perform: TypeAlias = Callable[[Attempt], Awaitable[QueuedTaskRecord]]
"""
Runs the function of an attempt in another place, and returns the record's next step, not yet stored.

If it is cancelled, it ends the function before it raises or returns. What it raises fails the attempt.
"""
