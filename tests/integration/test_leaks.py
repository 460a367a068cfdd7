"""What an attempt leaves behind: no context variable, and no local of a function that failed."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from weakref import WeakSet

import pytest

import shop
from lq_core import (
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    TaskContext,
    TaskStatus,
    Worker,
    current_context,
    find_task,
    task,
)
from lq_core.tasks.middleware import Proceed

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


@task(name="leaks.enter", execution_backend="immediate")
async def enter(tenant: str) -> str:
    before = TENANT.get()
    TENANT.set(tenant)
    await asyncio.sleep(0)
    return f"{before} {TENANT.get()}"


@task(name="leaks.wait", execution_backend="immediate")
async def wait() -> None:
    TENANT.set("waiting")
    await shop.gate.through_middleware()


async def enter_too(context: TaskContext, proceed: Proceed) -> QueuedTaskRecord:
    TENANT.set("middleware")
    return await proceed()


async def test_an_inline_run_sees_the_variables_of_its_caller_and_leaves_none(service: QueueService) -> None:
    TENANT.set("caller")

    sent = await service.enqueue(enter, "task")

    assert await sent.wait() == "caller task"
    assert TENANT.get() == "caller"
    with pytest.raises(LookupError):
        current_context()


async def test_middleware_of_an_inline_run_leaves_no_variable_to_the_caller(config: QueueConfig) -> None:
    async with QueueService(replace(config, middleware=(enter_too,))) as service:
        sent = await service.enqueue(enter, "task")

    assert sent.record.result == '"middleware task"'
    assert TENANT.get() == "nobody"


async def test_a_record_that_its_caller_runs_leaves_no_variable(service: QueueService) -> None:
    sent = await service.enqueue(enter.using(execution_backend="local"), "task")

    record = await service.execute_record(sent.record)

    assert (record.result, TENANT.get()) == ('"nobody task"', "nobody")


async def test_an_inline_run_is_cancelled_with_its_caller(service: QueueService) -> None:
    gate = shop.new_gate()
    caller = asyncio.create_task(service.enqueue(wait))
    await gate.wait_begun()

    caller.cancel()

    with pytest.raises(asyncio.CancelledError):
        await caller
    (record,) = await service.find()
    assert (record.status, record.history[-1].message) == (TaskStatus.PENDING, "its caller was cancelled")


class Weight:
    """What a function has in its locals."""

    def __init__(self) -> None:
        WEIGHTS.add(self)


WEIGHTS: WeakSet[Weight] = WeakSet()


@task(name="leaks.fail")
async def fail() -> None:
    weight = Weight()
    await asyncio.sleep(0)
    raise ValueError(str(type(weight)))


@task(name="leaks.fail_in_thread")
def fail_in_thread() -> None:
    weight = Weight()
    raise ValueError(str(type(weight)))


@task(name="leaks.linger", timeout=0.01)
async def linger() -> None:
    weight = Weight()
    await asyncio.Event().wait()
    del weight


@task(name="leaks.give_up")
async def give_up() -> None:
    weight = Weight()
    raise asyncio.CancelledError(str(type(weight)))


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("name", ["leaks.fail", "leaks.fail_in_thread", "leaks.linger", "leaks.give_up"])
@pytest.mark.parametrize("execution_backend", ["local", "immediate"])
@pytest.mark.usefixtures("no_garbage_collection")
async def test_the_locals_of_a_function_that_failed_are_not_kept(
    config: QueueConfig, name: str, execution_backend: str
) -> None:
    WEIGHTS.clear()
    failing = find_task(name).using(execution_backend=execution_backend)

    async with QueueService(config) as service, Worker(service):
        sent = await service.enqueue(failing)
        failed = await service.wait(sent.id, timeout=10)

    for thread in threading.enumerate():
        if thread.name == f"lq {name}":
            thread.join(10)
    assert (failed.status, len(WEIGHTS)) == (TaskStatus.FAILED, 0)
