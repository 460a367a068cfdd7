"""A plain function that wraps an async one: the awaitable that it returns is awaited in the event loop."""

import asyncio
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, ParamSpec, TypeVar

import pytest

import shop
from lq_core import QueueService, TaskContext, TaskFailedError, TaskStatus, Worker, current_context, task
from lq_core.attempts.thread import run_in_thread

Params = ParamSpec("Params")
Result = TypeVar("Result")

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


def for_tenant(function: Callable[Params, Coroutine[Any, Any, Result]]) -> Callable[Params, Awaitable[Result]]:
    """Set a context variable, as decorators of tracing libraries do."""

    @functools.wraps(function)
    def wrapper(*args: Params.args, **kwargs: Params.kwargs) -> Awaitable[Result]:
        TENANT.set("ada")
        return function(*args, **kwargs)

    return wrapper


class Later:
    """A callable object whose call has to be awaited."""

    def __init__(self, function: Callable[..., Coroutine[Any, Any, object]]) -> None:
        self.function = function
        functools.update_wrapper(self, function)

    async def __call__(self, **arguments: object) -> object:
        return await self.function(**arguments)


async def number_of(context: TaskContext, first: int) -> int:
    assert current_context() is context
    return first


async def told(first: int) -> list[str]:
    await asyncio.sleep(0)
    return [TENANT.get(), str(first), str(threading.current_thread() is threading.main_thread())]


wrapped = task(name="wrappers.wrapped")(for_tenant(told))
as_object = task(name="wrappers.object")(Later(told))
with_context = task(name="wrappers.context")(for_tenant(number_of))


@task(name="wrappers.partial")
def partly(first: int) -> Awaitable[list[str]]:
    return functools.partial(told, first)()


@task(name="wrappers.coroutine")
def coroutine(first: int) -> Coroutine[Any, Any, list[str]]:
    return told(first)


@task(name="wrappers.blocking")
def blocking(first: int) -> list[str]:
    return asyncio.run(told(first))


@task(name="wrappers.fail", retries=1, backoff=0)
def fail() -> Awaitable[None]:
    async def raises() -> None:
        raise ValueError("awaited")

    return raises()


@task(name="wrappers.linger", timeout=1)  # Time enough for its thread to return, on a busy machine too.
def linger() -> Awaitable[bool]:
    return asyncio.Event().wait()


@task(name="wrappers.wait_at_gate")
def wait_at_gate() -> Awaitable[None]:
    return shop.gate.through_middleware()


@pytest.mark.parametrize(
    "name, answer",
    [
        ("wrappers.wrapped", ["ada", "3", "True"]),
        ("wrappers.object", ["nobody", "3", "True"]),
        ("wrappers.partial", ["nobody", "3", "True"]),
        ("wrappers.coroutine", ["nobody", "3", "True"]),
        ("wrappers.blocking", ["nobody", "3", "False"]),
        ("wrappers.context", 3),
    ],
)
async def test_what_a_plain_function_returns_is_awaited(
    service: QueueService, worker: Worker, name: str, answer: object
) -> None:
    assert await (await service.enqueue_by_name(name, 3)).wait(timeout=10) == answer


async def test_what_is_awaited_fails_as_the_task(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(fail)

    with pytest.raises(TaskFailedError, match="ValueError: awaited"):
        await sent.wait(timeout=10)
    assert sent.record.attempt == 2


async def test_what_is_awaited_counts_against_the_timeout(service: QueueService, worker: Worker) -> None:
    with pytest.raises(TaskFailedError, match=r"longer than its timeout of 1 s\.$"):
        await (await service.enqueue(linger)).wait(timeout=10)


async def test_what_is_awaited_can_be_cancelled(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    sent = await service.enqueue(wait_at_gate)
    await gate.wait_begun()

    await service.cancel(sent.id)

    assert (await service.wait(sent.id, timeout=10)).status is TaskStatus.CANCELLED


class Held:
    """A plain function that returns a coroutine when it is released, in its thread."""

    def __init__(self) -> None:
        self.made = told(1)
        self._begun = threading.Event()
        self._released = threading.Event()

    def __call__(self) -> Coroutine[Any, Any, list[str]]:
        self._begun.set()
        self._released.wait(10)
        return self.made

    async def started(self) -> asyncio.Task[object]:
        running = asyncio.create_task(run_in_thread(self, name="held", facts={}, context=copy_context()))
        await asyncio.to_thread(self._begun.wait, 10)
        return running

    def release(self) -> None:
        """Let the function return, and wait for its thread."""
        self._released.set()
        [thread] = [thread for thread in threading.enumerate() if thread.name == "lq held"]
        thread.join()

    @property
    def is_closed(self) -> bool:
        return inspect.getcoroutinestate(self.made) == inspect.CORO_CLOSED


async def test_a_coroutine_that_a_thread_returns_too_late_is_closed() -> None:
    held = Held()
    running = await held.started()

    running.cancel()
    await asyncio.wait([running])
    held.release()
    await asyncio.sleep(0)

    assert held.is_closed


async def test_a_coroutine_that_a_thread_returns_at_the_moment_of_the_cancellation_is_closed() -> None:
    held = Held()
    running = await held.started()

    held.release()  # The event loop, which is blocked, has yet to hear of it.
    asyncio.get_running_loop().call_soon(running.cancel)
    await asyncio.wait([running])

    assert running.cancelled()
    assert held.is_closed


def test_a_coroutine_that_a_thread_returns_after_the_end_of_the_event_loop_is_closed() -> None:
    held = Held()

    asyncio.run(held.started())  # It ends the event loop, and cancels what runs.
    held.release()

    assert held.is_closed
