"""What a running task can read and report about itself."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial
from math import isfinite
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast, overload

from lq_core.foundation.clock import LONGEST_WAIT
from lq_core.foundation.duration import Duration, seconds
from lq_core.foundation.errors import SignalTimeoutError
from lq_core.records import steps
from lq_core.records.history import STEP, TIMED_OUT
from lq_core.records.record import Fence, Progress, QueuedTaskRecord, TaskStatus
from lq_core.tasks.owner import Owner
from lq_core.tasks.signals import SignalAwaited, check_signal, received
from lq_core.tasks.steps import NOT_RUN, Step, Steps, outcome_of

CURRENT: Final[ContextVar["TaskContext | None"]] = ContextVar("lq_task_context", default=None)
"""The context of the task that runs here, None in a batch; read it by :func:`current_context`."""

Params = ParamSpec("Params")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)

LINE_LIMIT: Final = 2_000
"""How many characters of a logged line, or of the message of a progress or a snooze, a record keeps."""


_process = os.getpid()


def _note_fork() -> None:
    global _process  # noqa: PLW0603 -- one process, one number; os.getpid() for each attempt would cost more
    _process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def current_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; None if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class ResultReader(Protocol[Result_co]):
    """The part of a task that reads its results."""

    @property
    def name(self) -> str:
        """The ``task_name`` of its records."""
        ...

    def result_of(self, record: QueuedTaskRecord) -> Result_co:
        """Decode the result of one of its records."""
        ...


class RetryLater(Exception):  # noqa: N818 -- an instruction of the task, not a fault
    """Raise it in a task to run it again after *delay*, seconds or a timedelta, without spending the retry budget."""

    def __init__(self, delay: Duration, message: str | None = None) -> None:
        super().__init__(delay, message)
        wait = seconds(delay)
        if not 0 <= wait <= LONGEST_WAIT:
            raise ValueError(
                f"RetryLater takes seconds or a timedelta, from 0 to {LONGEST_WAIT:g} seconds; this is {delay!r}."
            )
        self.delay = float(wait)
        self.message = None if message is None else _line(message)


class NonRetryable(Exception):  # noqa: N818 -- an instruction of the task, named like the user reads it
    """Raise it in a task to fail at once, without a retry."""


class TaskContext:
    """
    One attempt as its task sees it: the record, whether the task should stop, and a way to report progress.

    A task takes it as its first parameter, or calls :func:`current_context`.
    """

    __slots__ = ("_loop", "_owner", "_process", "_steps", "_stopping", "error", "record")

    def __init__(self, record: QueuedTaskRecord, owner: Owner, *, loop: asyncio.AbstractEventLoop) -> None:
        self.record = record
        self.error: BaseException | None = None
        """The exception with which the attempt ended; middleware reads it after ``proceed()``."""

        self._stopping = False
        self._owner = owner
        self._loop = loop
        self._process = _process
        self._steps: Steps | None = None

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.record.attempt

    @property
    def cancelled(self) -> bool:
        """Whether the task should stop: it was cancelled, has timed out, or no longer owns its record."""
        return self._stopping

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Report how far the task is; any process can read it while the task runs."""
        await self._in_own_loop(self._saying(_progress(done, total, message)))

    def progress_from_thread(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Report how far the task is, from a plain function. Raises RuntimeError in an async function."""
        self._report_from_thread(_progress(done, total, message), instead="progress")

    async def log(self, message: str) -> None:
        """Add a line to the record's history; any process can read it at once. The newest 50 lines are kept."""
        await self._in_own_loop(self._saying(_line(message)))

    def log_from_thread(self, message: str) -> None:
        """Add a line to the record's history, from a plain function. Raises RuntimeError in an async function."""
        self._report_from_thread(_line(message), instead="log")

    async def predecessors(self) -> list[QueuedTaskRecord]:
        """Read the predecessors of this record, in the order of ``after``, without deleted ones."""
        if self.record.after is None:
            return []
        ids = self.record.after.ids

        async def read() -> Sequence[QueuedTaskRecord]:
            return await self._owner.read(ids)

        found = {record.id: record for record in await self._in_own_loop(read)}
        return [found[one] for one in ids if one in found]

    async def results(self, task: "ResultReader[Result]") -> list[Result]:
        """
        Read the results of the predecessors that are calls of *task*, in the order of ``after``.

        Predecessors that did not complete are left out.
        """
        return [
            task.result_of(record)
            for record in await self.predecessors()
            if record.task_name == task.name and record.status is TaskStatus.COMPLETED
        ]

    async def complete_in(self, connection: object, result: object = None) -> None:
        """
        Complete the record in an open transaction of your own, so that its effect and the outcome commit together.

        Call it as the last step of the transaction, and return after the commit. If the transaction is rolled back,
        the task has not completed. Raises OwnershipLostError if the record has another owner now: roll back then.
        Raises ConfigurationError if the queue backend does not keep its records in your database.
        """
        await self._owner.complete(self._place, connection, result)

    @overload
    async def step(
        self, name: str, function: Callable[Params, Awaitable[Result]], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> Result: ...
    @overload
    async def step(
        self, name: str, function: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> Result: ...
    async def step(self, name: str, function: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        """
        Call a function once over all attempts of the record: the next attempts get its stored result.

        Awaits an async function, and calls a plain one in a thread. The result is stored before this returns, so a
        process that dies repeats at most the step that was running. What the function raises is not stored.

        Raises StepResultError if the result has no JSON form, PayloadTooLargeError if all results of steps together are
        larger than ``QueueConfig.max_payload_bytes``, OwnershipLostError, ValueError if the name was used before.
        """
        step, result = self._begin(name, function)
        if result is NOT_RUN:
            result = await outcome_of(function, *args, **kwargs)
            await self._in_own_loop(partial(self.keep, STEP, name, step.encode(result)))
        return result

    def step_from_thread(
        self, name: str, function: Callable[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
    ) -> Result:
        """Call a plain function in this thread, once over all attempts; otherwise as :meth:`step`."""
        self._check_thread(instead="step")
        step, result = self._begin(name, function)
        if result is NOT_RUN:
            result = function(*args, **kwargs)
            self._submit(partial(self.keep, STEP, name, step.encode(result))).result()
        return cast("Result", result)

    @overload
    async def wait_for(self, signal: str, /, *, timeout: Duration | None = None) -> object: ...
    @overload
    async def wait_for(self, signal: str, kind: type[Result], /, *, timeout: Duration | None = None) -> Result: ...
    async def wait_for(self, signal: str, kind: object = Any, /, *, timeout: Duration | None = None) -> object:
        """
        Return the value of a signal that ``QueueService.signal`` has sent to this record, as a *kind*.

        If it has not come, this attempt ends here, without an error, and the record waits without a slot. The signal
        starts the next attempt, which runs the function from its first line: put what must not be repeated into steps.

        Raises SignalTimeoutError *timeout* seconds after the first wait for it (None: never), in the later attempts as
        well; TypeError if the value is of another type; ConfigurationError for a bad name.
        """
        found, is_late = self._received(signal, kind, timeout)
        if is_late:
            await self._in_own_loop(partial(self.keep, TIMED_OUT, signal, "null"))
        return _signal(signal, found)

    @overload
    def wait_for_from_thread(self, signal: str, /, *, timeout: Duration | None = None) -> object: ...
    @overload
    def wait_for_from_thread(
        self, signal: str, kind: type[Result], /, *, timeout: Duration | None = None
    ) -> Result: ...
    def wait_for_from_thread(self, signal: str, kind: object = Any, /, *, timeout: Duration | None = None) -> object:
        """Wait for a signal in a plain function, as :meth:`wait_for`: this thread ends, and does not block."""
        self._check_thread(instead="wait_for")
        found, is_late = self._received(signal, kind, timeout)
        if is_late:
            self._submit(partial(self.keep, TIMED_OUT, signal, "null")).result()
        return _signal(signal, found)

    def _received(self, signal: str, kind: object, timeout: Duration | None) -> tuple[tuple[object, ...], bool]:
        """
        Return the value of a signal as a tuple of one, or nothing when its time is over, and whether this is news.

        Ends the attempt if the task has to wait.
        """
        limit = seconds(timeout)
        check_signal(signal, limit)
        found = received(self.record, signal, kind)
        if found or steps.has_timed_out(self.record, signal):
            return found, False
        if steps.is_over(self.record, signal, timeout=limit, at=self.record.started_at or self.record.created_at):
            return (), True
        steps.check_room(self.record, more=1)
        raise SignalAwaited(signal, limit)

    def _begin(self, name: str, function: Callable[..., object]) -> tuple[Step, object]:
        self._steps = self._steps or Steps(self.record)
        return self._steps.begin(name, function)

    async def keep(self, event: str, name: str, value: str) -> None:
        """Store a named value of the task; lq calls it."""
        await self._owner.keep(self._place, event, name, value)

    def stop(self) -> None:
        """Make :attr:`cancelled` true; lq calls it."""
        self._stopping = True

    def _report_from_thread(self, said: Progress | str, *, instead: str) -> None:
        self._check_thread(instead=instead)
        self._submit(self._saying(said)).result()

    def _check_thread(self, *, instead: str) -> None:
        if current_loop() is self._loop:
            raise RuntimeError(
                f"{instead}_from_thread() is for plain functions, which run in a thread; here it would block the event "
                f"loop for ever. Use `await context.{instead}(...)`."
            )

    def _saying(self, said: Progress | str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def say() -> None:
            await self._owner.report(self._place, said)

        return say

    async def _in_own_loop(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Await a call in the event loop of the worker, also from a thread or an event loop that the task started."""
        if current_loop() is self._loop:
            return await call()
        return await asyncio.wrap_future(self._submit(call))

    def _submit(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> "Future[Result]":
        if os.getpid() != self._process:
            raise RuntimeError(
                "The context belongs to the process that runs the task, and this is a forked child: report from there, "
                "or let the child return what there is to report."
            )
        if not self._loop.is_running():
            raise RuntimeError("The worker that ran this task has ended: there is nobody to report to.")
        return asyncio.run_coroutine_threadsafe(call(), self._loop)

    @property
    def _place(self) -> Fence:
        return self.record.id, self.record.epoch

    def __repr__(self) -> str:
        return f"<TaskContext {self.record.task_name} {self.record.id} attempt {self.attempt}>"


def current_context() -> TaskContext:
    """Return the context of the task that is running here. Raises LookupError outside of a task."""
    running = CURRENT.get()
    if running is None:
        raise LookupError("No task is running here; only a task and the functions it calls have a context.")
    return running


def with_context(args: tuple[object, ...]) -> tuple[object, ...]:
    """Put the current context before the arguments of a direct call, if there is one and none is given."""
    running = CURRENT.get()
    return args if running is None or (args and isinstance(args[0], TaskContext)) else (running, *args)


def _signal(name: str, found: tuple[object, ...]) -> object:
    if not found:
        raise SignalTimeoutError(name)
    return found[0]


def storable(text: str) -> str:
    """Escape the characters that UTF-8 cannot encode, because no database takes them."""
    return text.encode(errors="backslashreplace").decode()


def _line(message: str) -> str:
    text = str(message)
    return storable(text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]}...")


def _progress(done: float, total: float | None, message: str | None) -> Progress:
    if not (isfinite(done) and isfinite(total or 0.0)):  # Such a number could not be decoded again.
        raise ValueError(f"The progress {done!r} of {total!r} is not finite.")
    text = None if message is None else _line(message)
    return Progress(done=float(done), total=None if total is None else float(total), message=text)
