"""What a running task may know of itself, and say about itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar, Token
from math import isfinite
from typing import Final, Protocol, TypeVar
from uuid import UUID

from lq_core.clock import LONGEST_WAIT
from lq_core.event_loop import current_loop
from lq_core.record import Place, Progress, QueuedTaskRecord, TaskStatus

_CURRENT: Final[ContextVar["TaskContext"]] = ContextVar("lq_task_context")


Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)

LINE_LIMIT: Final = 2_000
"""How many characters of a logged line, or of the message of a progress or a snooze, a record keeps."""


class ResultReader(Protocol[Result_co]):
    """What is needed of a task to read its results."""

    @property
    def name(self) -> str:
        """The name that its records carry."""
        ...

    def result_of(self, record: QueuedTaskRecord) -> Result_co:
        """Decode what one of them returned."""
        ...


class RetryLater(Exception):  # noqa: N818 -- an instruction of the task, not a fault
    """Raise it in a task to be run again after *delay* seconds, without spending the retry budget."""

    def __init__(self, delay: float, message: str | None = None) -> None:
        super().__init__(delay, message)
        if not 0 <= delay <= LONGEST_WAIT:
            raise ValueError(f"RetryLater takes seconds, from 0 to {LONGEST_WAIT:g}; this is {delay!r}.")
        self.delay = float(delay)
        self.message = None if message is None else _line(message)


class NonRetryable(Exception):  # noqa: N818 -- an instruction of the task, named like the user reads it
    """Raise it in a task to fail at once, whatever is left of the retry budget."""


class TaskContext:
    """
    One attempt, seen from inside: its record, whether it should stop, and a way to report progress.

    A task asks for it as its first parameter, or calls :func:`current_context`.
    """

    __slots__ = ("_complete", "_loop", "_read", "_report", "_stopping", "error", "record")

    def __init__(
        self,
        record: QueuedTaskRecord,
        *,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[Place, Progress | str], Awaitable[None]],
        read: Callable[[Sequence[UUID]], Awaitable[Sequence[QueuedTaskRecord]]],
        complete: Callable[[Place, object, object], Awaitable[None]],
    ) -> None:
        self.record = record
        self.error: BaseException | None = None
        """The exception that the attempt has ended with; for middleware, once ``proceed()`` has returned."""

        self._stopping = False
        self._report = report
        self._loop = loop
        self._read = read
        self._complete = complete

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.record.attempt

    @property
    def cancelled(self) -> bool:
        """Whether the task should stop: it was cancelled, timed out, or does not own its record any more."""
        return self._stopping

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far the task has come, readable from any process while it runs."""
        await self._report(self._place, _progress(done, total, message))

    def progress_from_thread(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far the task has come, from a plain function, which runs in a thread; RuntimeError elsewhere."""
        self._report_from_thread(_progress(done, total, message), instead="progress")

    async def log(self, message: str) -> None:
        """Add a line to the record's history, readable from any process while the task runs; the newest 50 are kept."""
        await self._report(self._place, _line(message))

    def log_from_thread(self, message: str) -> None:
        """Add a line to the record's history, from a plain function, which runs in a thread; RuntimeError elsewhere."""
        self._report_from_thread(_line(message), instead="log")

    async def predecessors(self) -> list[QueuedTaskRecord]:
        """Read the records that this one came after, in the order of ``after``; what was deleted is left out."""
        if self.record.after is None:
            return []
        found = {record.id: record for record in await self._read(self.record.after.ids)}
        return [found[one] for one in self.record.after.ids if one in found]

    async def results(self, task: "ResultReader[Result]") -> list[Result]:
        """
        Read what the predecessors that are calls of *task* returned, in the order of ``after``.

        Those that did not complete are left out.
        """
        return [
            task.result_of(record)
            for record in await self.predecessors()
            if record.task_name == task.name and record.status is TaskStatus.COMPLETED
        ]

    async def complete_in(self, connection: object, result: object = None) -> None:
        """
        Record the end of the task in the application's own open transaction: effect and outcome commit together.

        Let it be the last step of the transaction, and return after the commit; if it is rolled back, the task has not
        completed. Raises OwnershipLostError when the record belongs to somebody else by now: let the transaction roll
        back; ConfigurationError when the queue backend does not keep its records in the application's database.
        """
        await self._complete(self._place, connection, result)

    def stop(self) -> None:
        """Let :attr:`cancelled` be true from now on; lq calls it."""
        self._stopping = True

    def _report_from_thread(self, said: Progress | str, *, instead: str) -> None:
        if current_loop() is self._loop:
            raise RuntimeError(
                f"{instead}_from_thread() is for plain functions, which run in a thread; it would stop the event loop "
                f"for ever here: `await context.{instead}(...)`."
            )
        asyncio.run_coroutine_threadsafe(_awaited(self._report(self._place, said)), self._loop).result()

    @property
    def _place(self) -> Place:
        return self.record.id, self.record.epoch

    def __repr__(self) -> str:
        return f"<TaskContext {self.record.task_name} {self.record.id} attempt {self.attempt}>"


def current_context() -> TaskContext:
    """Return the context of the task that is running here. Raises LookupError outside of a task."""
    try:
        return _CURRENT.get()
    except LookupError:
        raise LookupError("No task is running here; only a task, and what it calls, has a context.") from None


def enter_context(context: TaskContext) -> Token[TaskContext]:
    """Make a context the current one of this asyncio task; lq calls it."""
    return _CURRENT.set(context)


def leave_context(entered: Token[TaskContext]) -> None:
    """Make the context from before the current one again; lq calls it."""
    _CURRENT.reset(entered)


def _line(message: str) -> str:
    text = str(message)
    text = text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]}..."
    return text.encode(errors="backslashreplace").decode()


async def _awaited(reported: Awaitable[None]) -> None:
    await reported


def _progress(done: float, total: float | None, message: str | None) -> Progress:
    """Take only what can be read again: a record with a progress that is no number would be lost to everybody."""
    numbers = [float(done)] if total is None else [float(done), float(total)]
    if not all(map(isfinite, numbers)):
        raise ValueError(f"The progress {done!r} of {total!r} is no finite number.")
    text = None if message is None else _line(message)
    return Progress(done=numbers[0], total=None if total is None else numbers[1], message=text)
