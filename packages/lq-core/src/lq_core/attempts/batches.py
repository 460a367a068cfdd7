"""Gathers the running calls of a batch task, and gives them to its function at once."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias, cast

from lq_core.attempts.injector import Injector
from lq_core.attempts.thread import run_in_thread
from lq_core.tasks.arrival import shown
from lq_core.tasks.context import CURRENT, TaskContext
from lq_core.tasks.task import AnyBatchTask

Body: TypeAlias = asyncio.Task[Any]
"""The asyncio task of an attempt."""

_Ended: TypeAlias = tuple[object, BaseException | None, TracebackType | None]
"""The result of a call, or its exception with the traceback that the function gave it."""


class _Batch:
    def __init__(self, task: AnyBatchTask) -> None:
        self.task = task
        self.calls: dict[Body, tuple[object, asyncio.Future[_Ended]]] = {}
        """The calls that wait for their ends, by their attempts."""

        self.is_full = asyncio.Event()
        self.running: asyncio.Task[None] | None = None


class Batches:
    """
    The batches of one presence.

    *free* gives the slot of an attempt to others while its batch gathers, and says whether others may come; *hold*
    takes the slot back, since a batch that runs has one.
    """

    def __init__(self, injector: Injector, *, free: Callable[[Body], bool], hold: Callable[[Body], None]) -> None:
        self._injector = injector
        self._free = free
        self._hold = hold
        self._gathering: dict[str, _Batch] = {}

    async def join(self, task: AnyBatchTask, item: object, context: TaskContext, body: Body) -> object:
        """
        Return the result of one call of a batch, or raise its exception.

        A record that has lost a start runs alone, because it may have killed its worker. If all calls of a batch are
        cancelled, the function is cancelled.
        """
        gathers = not context.record.losses and self._free(body)
        batch = self._gathering.get(task.name) if gathers else None
        if batch is None:
            batch = _Batch(task)
            batch.running = asyncio.create_task(self._run(batch, context, gathers=gathers))
            batch.running.add_done_callback(partial(self._note_end, batch))
            if gathers:
                self._gathering[task.name] = batch
        future: asyncio.Future[_Ended] = asyncio.get_running_loop().create_future()
        batch.calls[body] = item, future
        if len(batch.calls) >= task.batch:
            self._close(batch)
        try:
            result, error, trace = await future
        except asyncio.CancelledError:
            batch.calls.pop(body, None)
            if not batch.calls and batch.running is not None and not batch.running.done():
                self._close(batch)
                batch.running.cancel()
                await asyncio.wait([batch.running])
            raise
        try:
            if error is not None:  # Other calls may raise it, too, and each adds to its traceback.
                raise error.with_traceback(trace)
        finally:
            del error, trace  # They refer to this frame.
        return result

    def _close(self, batch: _Batch) -> None:
        """Let the next call begin another batch."""
        batch.is_full.set()
        if self._gathering.get(batch.task.name) is batch:
            del self._gathering[batch.task.name]

    def _note_end(self, batch: _Batch, _: asyncio.Task[None]) -> None:
        """Leave no call behind if the asyncio task of the batch was cancelled."""
        self._close(batch)
        for _item, future in batch.calls.values():
            future.cancel()

    async def _run(self, batch: _Batch, first: TaskContext, *, gathers: bool) -> None:
        CURRENT.set(None)  # It is the context of one call.
        if gathers:
            with suppress(TimeoutError):
                async with asyncio.timeout(batch.task.batch_wait):
                    await batch.is_full.wait()
            self._close(batch)
            self._hold(next(iter(batch.calls)))
        calls = list(batch.calls.values())
        ended: Sequence[_Ended]
        try:
            outcomes = await self._outcomes(batch.task, [item for item, _ in calls], first)
            ended = [(None, one, None) if isinstance(one, BaseException) else (one, None, None) for one in outcomes]
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 -- a task may raise anything, and each call fails with it
            ended = [(None, error, error.__traceback__)] * len(calls)
        for (_, future), end in zip(calls, ended, strict=True):
            if not future.done():
                future.set_result(end)

    async def _outcomes(self, task: AnyBatchTask, items: list[object], first: TaskContext) -> Sequence[object]:
        outcomes: object = None
        facts = {"task_name": task.name, "calls": len(items)}
        async with AsyncExitStack() as opened:
            injected = await self._injector.provide(task.name, task.codec.injected, first, opened)
            call = partial(task.function, items, **injected)
            if inspect.iscoroutinefunction(task.function):
                outcomes = call()
            else:
                outcomes = await run_in_thread(call, name=task.name, facts=facts, context=copy_context())
            if inspect.isawaitable(outcomes):
                outcomes = await cast("Awaitable[object]", outcomes)
            return _checked(task, outcomes, len(items))  # A session that is injected does not commit if this raises.
        raise RuntimeError("A provider has suppressed an exception of the function.")


def _checked(task: AnyBatchTask, returned: object, count: int) -> Sequence[object]:
    outcomes = cast("Sequence[object]", returned) if isinstance(returned, list | tuple) else ()
    if len(outcomes) != count:
        raise TypeError(
            f"{task.name} got a list of {count} calls, and must return a list with one outcome for each, a result or "
            f"an exception; it returned {shown(cast('object', returned))}."
        )
    return outcomes
